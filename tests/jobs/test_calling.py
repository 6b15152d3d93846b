"""The arguments of jobs and tasks: checked when they are given, the same after their way through JSON."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi import Depends
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from hardpoint.jobs.calling import Call


class Colour(Enum):
    RED = "red"


class Order(BaseModel):
    model_config = ConfigDict(strict=True)

    number: int
    at: datetime
    parts: tuple[Decimal, ...]


async def everything(
    when: datetime,
    day: date,
    pause: timedelta,
    amount: Decimal,
    key: UUID,
    colour: Colour,
    path: Path,
    data: bytes,
    words: frozenset[str],
    kind: Literal["a", "b"],
    order: Order,
    # Names that Pydantic's models have for themselves.
    json: int,
    copy: dict[int, float] | None,
    model_config: list[str],
) -> None: ...


instants = st.datetimes(timezones=st.just(UTC))
amounts = st.decimals(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.fixed_dictionaries(
        {
            "when": instants,
            "day": st.dates(),
            "pause": st.timedeltas(timedelta(days=-9_999), timedelta(days=9_999)),
            "amount": amounts,
            "key": st.uuids(),
            "colour": st.just(Colour.RED),
            "path": st.just(Path("a/b")),
            "data": words.map(str.encode),
            "words": st.frozensets(words),
            "kind": st.sampled_from(["a", "b"]),
            "order": st.builds(Order, number=st.integers(), at=instants, parts=st.tuples(amounts, amounts)),
            "json": st.integers(),
            "copy": st.none() | st.dictionaries(st.integers(), st.floats(allow_nan=False)),
            "model_config": st.lists(words),
        }
    )
)
def test_arguments_are_the_same_after_their_way_through_the_database(arguments: dict[str, Any]) -> None:
    call = Call(everything)
    stored = json.loads(json.dumps(call.encode(arguments)))
    assert call.decode(stored) == arguments


async def test_an_argument_that_was_not_given_has_the_default_of_the_code_that_runs() -> None:
    seen: list[tuple[int, int]] = []

    async def number() -> int:
        return 7

    async def work(
        first: Annotated[int, Field(gt=0)] = 5, *, second: Annotated[int, Depends(number)], third: int = 9
    ) -> None:
        seen.append((first, second + third))

    call = Call(work)
    assert call.argument_names == ["first", "third"]
    assert call.encode({}) == {}
    await call.run({"third": 1}, state={})
    assert seen == [(5, 8)]
    with pytest.raises(TypeError, match="do not fit .*first: Input should be greater than 0"):
        call.encode({"first": 0})


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(str, "canary \ud800"), (bytes, b"\xff"), (SecretStr, SecretStr("canary")), (int, "canary")],
    ids=["half a character", "no text", "a secret", "no number"],
)
def test_what_would_be_lost_on_the_way_is_refused_and_not_repeated(annotation: type, value: Any) -> None:
    async def work(argument: annotation) -> None: ...  # type: ignore[valid-type]

    with pytest.raises(TypeError) as refused:
        Call(work).encode({"argument": value})
    assert "canary" not in str(refused.value)
