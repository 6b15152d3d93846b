import io
import json
import logging
import os
import socket
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from hardpoint import context
from hardpoint.log import ConsoleFormatter, JsonFormatter, configure_logging, get_logger

CANARY = "canary5f1e0a"


def formatted(formatter: logging.Formatter, event: str = "it_happened", *, error: Any = None, **fields: Any) -> str:
    record = logging.LogRecord("hardpoint.test", logging.INFO, __file__, 1, event, (), None)
    record.fields = fields
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    return formatter.format(record)


def test_a_json_line_has_the_event_and_the_fields() -> None:
    entry = json.loads(formatted(JsonFormatter(static={"instance": "a"}), number=7, nested={"x": [1, None]}))
    assert (entry["event"], entry["level"], entry["logger"]) == ("it_happened", "info", "hardpoint.test")
    assert (entry["number"], entry["nested"], entry["instance"]) == (7, {"x": [1, None]}, "a")
    assert entry["time"].endswith("Z")


def test_a_line_carries_the_request_and_who_acts() -> None:
    request, principal = context.request_id.set("abc"), context.principal.set("user:7")
    try:
        entry = json.loads(formatted(JsonFormatter()))
    finally:
        context.request_id.reset(request)
        context.principal.reset(principal)
    assert (entry["request_id"], entry["principal"]) == ("abc", "user:7")


@pytest.mark.parametrize("name", ["password", "new_password", "access_token", "Authorization", "set-cookie", "api-key"])
def test_a_field_that_speaks_of_secrets_is_left_out(name: str) -> None:
    for formatter in [JsonFormatter(), ConsoleFormatter()]:
        assert CANARY not in formatted(formatter, **{name: CANARY}, headers={name: CANARY})


@given(st.text(), st.text())
def test_no_value_can_forge_a_line(event: str, value: str) -> None:
    line = formatted(JsonFormatter(), event, field=value)
    assert line.isprintable()
    assert json.loads(line)["field"] == value
    assert formatted(ConsoleFormatter(), event, field=value).isprintable()


class Model(BaseModel):
    number: int


def validation_error() -> ValidationError:
    try:
        Model.model_validate({"number": CANARY})
    except ValidationError as error:
        return error
    raise AssertionError


ERRORS = [
    validation_error(),
    RequestValidationError([{"type": "missing", "loc": (), "msg": "m", "input": CANARY}], body=CANARY),
    ResponseValidationError([{"type": "missing", "loc": (), "msg": "m", "input": CANARY}], body=CANARY),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_an_exception_is_logged_without_the_inputs(error: Exception, formatter: logging.Formatter) -> None:
    try:
        raise RuntimeError("outside") from error
    except RuntimeError as outer:
        text = formatted(formatter, error=outer)
    grouped = formatted(formatter, error=ExceptionGroup("several", [error]))
    for written in [text, grouped]:
        assert type(error).__name__ in written
        assert CANARY not in written
    assert "RuntimeError: outside" in text


def test_configured_logging_writes_one_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    root, stream = logging.getLogger(), io.StringIO()
    before, level = list(root.handlers), root.level
    try:
        configure_logging(stream=stream)
        get_logger("hardpoint.test").info("one", n=1)
        get_logger("hardpoint.test").debug("unseen")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            get_logger("hardpoint.test").exception("two")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(entry["event"], entry["level"]) for entry in entries] == [("one", "info"), ("two", "error")]
    assert "ZeroDivisionError" in entries[1]["exception"]
    # Nobody named this process.
    assert {entry["instance"] for entry in entries} == {f"{socket.gethostname()}:{os.getpid()}"}
