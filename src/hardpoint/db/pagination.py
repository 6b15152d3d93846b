"""Keyset pagination: pages that do not shift while rows come and go, with cursors that nobody can forge.

    @router.get("/posts")
    async def list_posts(session: Session, page: PageParams) -> Page[PostOut]:
        statement = select(Post).where(Post.status == "published")
        return await page.of(PostOut, session, statement, order_by=(Post.created_at.desc(), Post.id.desc()))

A page begins after the last row of the one before, by that row's sort values, which travel in the cursor. An offset
would repeat or skip rows whenever one is added or removed before it, and cost more the further it goes.
"""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from operator import attrgetter
from typing import Annotated, Any, Final, Generic, TypeVar, get_args

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy import ColumnElement, Select, and_, literal, or_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import desc_op
from starlette.requests import HTTPConnection

from hardpoint.arguments import check_argument
from hardpoint.errors import FieldError, ValidationFailed
from hardpoint.scope import of_lifespan

__all__ = ["CursorSigner", "Page", "PageParams", "PageRequest", "page_params"]

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
_MAX_CURSOR_LENGTH: Final = 2_048
_SIGNATURE_BYTES: Final = 16
_MAX_INT: Final = 2**63 - 1

T = TypeVar("T")
Out = TypeVar("Out", bound=BaseModel)


def _with_example(schema: dict[str, Any], page: type[BaseModel]) -> None:
    # A page's example is a page with the example of its rows.
    (row,) = get_args(page.model_fields["items"].annotation) or (None,)
    extra = getattr(row, "model_config", {}).get("json_schema_extra")
    if isinstance(extra, dict) and extra.get("examples"):
        schema["examples"] = [{"items": extra["examples"][:1], "next_cursor": None}]


class Page(BaseModel, Generic[T]):
    """One page of a listing."""

    model_config = ConfigDict(json_schema_extra=_with_example)

    items: list[T] = Field(description="The rows of this page, in order")
    next_cursor: str | None = Field(description="What to send as `cursor` for the next page; null on the last one")


class CursorSigner:
    """Makes cursors and takes back its own alone: HMAC-SHA256 (RFC 2104), cut to 128 bits.

    128 bits are beyond guessing, and a forged cursor would give no more than another place to begin in a listing
    whose rows are filtered by permission anyway; the signature keeps clients from depending on what is inside.

    Args:
        key: The secret; 16 bytes or more.

    Raises:
        ValueError: It is shorter.
        TypeError: It is not bytes.
    """

    def __init__(self, key: bytes) -> None:
        check_argument("key", key, bytes, "bytes, such as auth.derived_key('cursors')")
        if len(key) < _SIGNATURE_BYTES:
            raise ValueError(f"The key must be at least {_SIGNATURE_BYTES} bytes long")
        self._key = key

    def sign(self, listing: str, values: Sequence[Any]) -> str:
        """The cursor for the row with these sort `values` in `listing`."""
        payload = json.dumps(to_jsonable_python(list(values)), separators=(",", ":")).encode()
        return _encoded(self._signature(listing, payload) + payload)

    def read(self, listing: str, cursor: str) -> list[Any]:
        """The sort values in `cursor`.

        Raises:
            ValidationFailed: It was not made here, or for another listing.
        """
        try:
            raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except ValueError:
            raise _broken_cursor() from None
        # The decoder passes over what is not of its alphabet; a cursor has one spelling.
        if _encoded(raw) != cursor:
            raise _broken_cursor()
        signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(listing, payload)):
            raise _broken_cursor()
        values: list[Any] = json.loads(payload)
        return values

    def _signature(self, listing: str, payload: bytes) -> bytes:
        return hmac.digest(self._key, listing.encode() + b"\x00" + payload, sha256)[:_SIGNATURE_BYTES]


def _encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _broken_cursor() -> ValidationFailed:
    message = "Not a cursor of this listing"
    return ValidationFailed(FieldError(field="cursor", message=message, code="invalid_cursor"))


class PageRequest:
    """What the client asked for: which page, and how long. Made by the dependency `PageParams`.

    Args:
        limit: The most rows in a page, 1 to 100.
        cursor: Where the page begins; `None` for the first.
        signer: Reads and makes cursors.
        scope: What a cursor belongs to besides the order, such as the route's path: it is refused anywhere else.
    """

    def __init__(self, *, limit: int, cursor: str | None, signer: CursorSigner, scope: str) -> None:
        self.limit = limit
        self.cursor = cursor
        self._signer = signer
        self._scope = scope

    async def of(
        self,
        model: type[Out],
        session: AsyncSession,
        statement: Select[Any],
        *,
        order_by: Sequence[ColumnElement[Any]],
    ) -> Page[Out]:
        """The page of `statement`'s rows as `model`, read from their attributes.

        Args:
            model: A Pydantic model with `from_attributes`.
            session: Where to ask.
            statement: A select of one entity, without an order or a limit.
            order_by: Columns of that entity, each plain or with `.desc()`. None may be nullable, and the last must be
                unique, so that every row has a place of its own.

        Raises:
            ValidationFailed: The cursor is not one of this listing.
            ValueError: `order_by` is empty or has a nullable column, or the last is not known to be unique.
        """
        keys = [_Key(expression) for expression in order_by]
        if not keys or not keys[-1].is_unique:
            raise ValueError("The last column of order_by must be a primary key or unique")
        listing = f"{self._scope} {','.join(key.name for key in keys)}"
        if self.cursor is not None:
            statement = statement.where(_after(keys, self._values(listing, keys)))
        rows = (await session.scalars(statement.order_by(*order_by).limit(self.limit + 1))).all()
        return self._page(model, rows, listing, [key.value_of for key in keys])

    async def of_rows(
        self,
        model: type[Out],
        fetch: Callable[[tuple[Any, ...] | None, int], Awaitable[Sequence[Any]]],
        *,
        key: Mapping[str, type],
    ) -> Page[Out]:
        """The page of rows that come from anywhere, as `model`, read from their attributes.

        Args:
            model: A Pydantic model with `from_attributes`.
            fetch: Gives the first rows, in order, after the row with these values of `key`, or from the beginning for
                `None`; and no more than the number that it is given.
            key: What the rows are ordered by: names of attributes, together unique, and their types.

        Raises:
            ValidationFailed: The cursor is not one of this listing.
        """
        parsers = [_parser(kind) for kind in key.values()]
        listing = f"{self._scope} {','.join(key)}"
        after = None if self.cursor is None else tuple(self._read(listing, parsers))
        rows = await fetch(after, self.limit + 1)
        return self._page(model, rows, listing, [attrgetter(name) for name in key])

    def _page(
        self, model: type[Out], rows: Sequence[Any], listing: str, values: Sequence[Callable[[Any], Any]]
    ) -> Page[Out]:
        items, more = rows[: self.limit], len(rows) > self.limit
        next_cursor = self._signer.sign(listing, [value(items[-1]) for value in values]) if more else None
        return Page[model](  # type: ignore[valid-type] # Pydantic makes the concrete class at run time.
            items=[model.model_validate(item, from_attributes=True) for item in items],
            next_cursor=next_cursor,
        )

    def _values(self, listing: str, keys: Sequence["_Key"]) -> list[Any]:
        return self._read(listing, [key.parse for key in keys])

    def _read(self, listing: str, parsers: Sequence[Callable[[Any], Any]]) -> list[Any]:
        values = self._signer.read(listing, self.cursor or "")
        try:
            return [parse(value) for parse, value in zip(parsers, values, strict=True)]
        except (ValidationError, ValueError):
            raise _broken_cursor() from None


def _parser(kind: type) -> Callable[[Any], Any]:
    validate: Callable[[Any], Any] = TypeAdapter(kind).validate_python

    def parse(value: Any) -> Any:
        parsed = validate(value)
        if isinstance(parsed, int) and abs(parsed) > _MAX_INT:
            raise ValueError("beyond the database's integers")
        return parsed

    return parse


class _Key:
    """One column of the order."""

    def __init__(self, expression: ColumnElement[Any]) -> None:
        self.descending = isinstance(expression, UnaryExpression) and expression.modifier is desc_op
        self.attribute: Any = expression.element if isinstance(expression, UnaryExpression) else expression
        if getattr(self.attribute, "nullable", False) or not hasattr(self.attribute, "key"):
            raise ValueError(f"{expression} cannot order a page: it is nullable or no column")
        self.name = f"{self.attribute}{' desc' if self.descending else ''}"
        self.is_unique = bool(self.attribute.primary_key or self.attribute.unique)
        kind = self.attribute.type.python_type
        if kind is object:
            raise ValueError(f"{expression} cannot order a page: its type does not say what it is in Python")
        if kind is bytes:
            raise ValueError(f"{expression} cannot order a page: a cursor holds no bytes")
        self.parse = _parser(kind)

    def value_of(self, row: Any) -> Any:
        return getattr(row, self.attribute.key)

    def beyond(self, value: Any) -> ColumnElement[bool]:
        # As a parameter: SQLAlchemy takes `True` itself for a word of SQL, which nothing is greater than.
        bound = literal(value, self.attribute.type)
        result: ColumnElement[bool] = self.attribute < bound if self.descending else self.attribute > bound
        return result


def _after(keys: Sequence[_Key], values: Sequence[Any]) -> ColumnElement[bool]:
    # (a, b) > (x, y) written out, because row values cannot mix directions.
    alternatives: list[ColumnElement[bool]] = []
    for place, (key, value) in enumerate(zip(keys, values, strict=True)):
        equal = [before.attribute == same for before, same in zip(keys[:place], values[:place], strict=True)]
        alternatives.append(and_(*equal, key.beyond(value)))
    return or_(*alternatives)


async def get_cursor_signer(connection: HTTPConnection) -> CursorSigner:
    """The signer that the lifespan holds under the name `cursor_signer`."""
    signer: CursorSigner = of_lifespan(connection.scope, "cursor_signer")
    return signer


async def page_params(
    connection: HTTPConnection,
    signer: Annotated[CursorSigner, Depends(get_cursor_signer)],
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="The most items in the page")] = DEFAULT_LIMIT,
    cursor: Annotated[
        str | None,
        Query(max_length=_MAX_CURSOR_LENGTH, description="`next_cursor` of the page before; leave out for the first"),
    ] = None,
) -> PageRequest:
    """The page that the query parameters `limit` and `cursor` ask for."""
    return PageRequest(limit=limit, cursor=cursor, signer=signer, scope=connection.url.path)


PageParams = Annotated[PageRequest, Depends(page_params)]
"""The page that the client asks for; `page.of(...)` gives it."""
