import asyncio
import io
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from hardpoint import context
from hardpoint.log import ConsoleFormatter, EventHandler, EventLogger, JsonFormatter, configure_logging, get_logger
from support.asgi import Records

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


class Untold(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Asking(Exception):
    def errors(self, of: str) -> list[str]:
        return [of]


ENDLESS: list[Any] = []
ENDLESS += [ENDLESS, {"again": ENDLESS}]


@pytest.mark.parametrize("value", [Untold(), ENDLESS, {"in": [Untold()]}, {"a": {"b": ENDLESS}}], ids=range(4))
@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_a_value_that_cannot_be_shown_costs_neither_the_line_nor_the_caller(
    value: object, formatter: logging.Formatter
) -> None:
    text = formatted(formatter, odd=value, number=7)
    assert f"<{type(value).__qualname__} that cannot be shown>" in text
    assert "7" in text


@pytest.mark.parametrize("error", [Untold(), Asking("one")], ids=["untold", "asking"])
def test_an_exception_without_a_text_is_logged(error: Exception) -> None:
    entry = json.loads(formatted(JsonFormatter(), error=error))
    assert entry["exception"].startswith("Traceback")
    assert f"<{type(error).__qualname__} that cannot be shown>" in entry["exception"]


async def test_an_event_whose_line_cannot_be_made_costs_none_of_those_that_wait() -> None:
    with handled(flush_seconds=60) as (logger, stream):
        EventLogger(logger).info("earlier")
        EventLogger(logger).error("odd", number=10**5_000, text="\ud800")
        assert "earlier" in events_in(stream)


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


class Stream(io.StringIO):
    """A stream that counts how often it was written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@contextmanager
def handled(**options: Any) -> Iterator[tuple[logging.Logger, Stream]]:
    stream, logger = Stream(), logging.getLogger("hardpoint.test.direct")
    handler = EventHandler(stream, JsonFormatter(), **options)
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    try:
        yield logger, stream
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
        handler.close()


def events_in(stream: Stream) -> list[str]:
    return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


def test_an_event_needs_no_record_where_nobody_else_would_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    original = logging.LogRecord.__init__

    def noting(self: Any, *arguments: Any, **more: Any) -> None:
        made.append(arguments[0])
        original(self, *arguments, **more)

    monkeypatch.setattr(logging.LogRecord, "__init__", noting)
    with handled() as (logger, stream):
        get_logger(logger.name).info("one", n=1)
        assert made == []
        seen = Records()
        logger.addHandler(seen)
        get_logger(logger.name).info("two", n=2)
        logger.removeHandler(seen)
        logger.addFilter(lambda record: record.event != "three")
        get_logger(logger.name).info("three")
        logger.filters.clear()
        with monkeypatch.context() as patch:
            patched = logging.Logger.callHandlers
            patch.setattr(logging.Logger, "callHandlers", lambda *arguments: patched(*arguments))  # noqa: PLW0108 - another one.
            get_logger(logger.name).info("four")
    assert events_in(stream) == ["one", "two", "four"]
    assert [record.getMessage() for record in seen.records] == ["two n=2"]
    assert len(made) == 3


BEFORE_US = """
import functools, logging, sys

genuine, seen = logging.Logger.callHandlers, []


@functools.wraps(genuine)
def patched(logger, record):
    seen.append(record)
    return genuine(logger, record)


logging.Logger.callHandlers = patched

from hardpoint.log import configure_logging, get_logger

configure_logging("json")
get_logger("hardpoint.errors").error("unhandled_exception", exc_info=ValueError("boom"))
assert [(record.event, record.exc_info[0]) for record in seen] == [("unhandled_exception", ValueError)], seen
"""


def test_an_error_tracker_that_began_before_we_were_imported_sees_every_record() -> None:
    done = subprocess.run([sys.executable, "-c", BEFORE_US], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["unhandled_exception"]


@contextmanager
def foreign(handler: logging.Handler) -> Iterator[logging.Logger]:
    """A logger as a service with logging of its own has it."""
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.Logger("service", logging.INFO)  # noqa: LOG001 - one that nobody else knows.
    logger.addHandler(handler)
    yield logger


def test_a_formatter_that_knows_no_fields_writes_them_too() -> None:
    stream = Stream()
    with foreign(logging.StreamHandler(stream)) as logger:
        token = context.request_id.set("abc")
        EventLogger(logger).info("login_failed", account=7, path="/a\nINFO root: forged", password="canary", why=None)
        context.request_id.reset(token)
    assert stream.getvalue() == (
        'INFO service: login_failed request_id=abc account=7 path="/a\\nINFO root: forged" '
        "password=[redacted] why=null\n"
    )


def test_a_line_is_ours_behind_a_queue_as_well() -> None:
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    with foreign(QueueHandler(queue)) as logger:
        EventLogger(logger).info("login_failed", account=7)
    record = queue.get_nowait()
    line = json.loads(JsonFormatter().format(record))
    assert (line["event"], line["account"]) == ("login_failed", 7)
    assert ConsoleFormatter().format(record).endswith("login_failed  account=7")


def test_a_record_of_others_keeps_its_message_whatever_it_carries() -> None:
    record = logging.makeLogRecord({"msg": "of %s", "args": ("others",), "event": "something", "levelname": "INFO"})
    assert json.loads(JsonFormatter().format(record))["event"] == "of others"


def test_both_ways_give_the_same_line() -> None:
    with handled() as (logger, stream):
        for _ in range(2):
            try:
                raise ZeroDivisionError("because")
            except ZeroDivisionError:
                get_logger(logger.name).exception("broke", n=1, token="x", nested={"password": "y"})
            logger.addHandler(logging.NullHandler())
        logger.handlers[1:] = []
    one, two = (json.loads(line) for line in stream.getvalue().splitlines())
    del one["time"], two["time"]
    assert one == two


async def test_lines_wait_for_each_other_and_never_for_long() -> None:
    with handled(flush_seconds=0.02) as (logger, stream):
        log = get_logger(logger.name)
        request = context.request_id.set("abc")
        log.info("one", n=1)
        log.info("two")
        context.request_id.reset(request)
        assert stream.writes == 0
        while not stream.writes:
            await asyncio.sleep(0.01)
        assert (events_in(stream), stream.writes) == (["one", "two"], 1)
        assert json.loads(stream.getvalue().splitlines()[0])["request_id"] == "abc"


async def test_a_warning_a_record_a_value_that_may_change_and_the_end_write_what_waits_in_order() -> None:
    with handled(flush_seconds=60) as (logger, stream):
        log = get_logger(logger.name)
        log.info("one")
        log.warning("two")
        assert events_in(stream) == ["one", "two"]
        log.info("three")
        logger.info("four")
        assert events_in(stream) == ["one", "two", "three", "four"]
        changing = [1]
        log.info("five", values=changing)
        changing.append(2)
        log.info("six")
        await asyncio.to_thread(log.info, "seven")
        assert events_in(stream)[4:] == ["five", "six", "seven"]
        assert json.loads(stream.getvalue().splitlines()[4])["values"] == [1]
        for number in range(1_000):
            log.info("many", n=number)
        assert len(events_in(stream)) == 7 + 1_000
        log.info("last")
        logger.handlers[0].flush()
        assert events_in(stream)[-1] == "last"


def test_a_stream_that_is_gone_is_reported_as_logging_reports_it(capsys: pytest.CaptureFixture[str]) -> None:
    with handled() as (logger, stream):
        stream.close()
        get_logger(logger.name).info("lost")
        assert "--- Logging error ---" in capsys.readouterr().err
        logger.handlers[0].setStream(io.StringIO())


def test_a_negative_wait_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        EventHandler(io.StringIO(), JsonFormatter(), flush_seconds=-1)


async def test_deferred_fields_are_made_with_their_line() -> None:
    made: list[int] = []

    def fields() -> dict[str, Any]:
        made.append(1)
        return {"path": "/", "status": 200}

    with handled(flush_seconds=60) as (logger, stream):
        EventLogger(logger).deferred("request", fields)
        assert (made, stream.getvalue()) == ([], "")
        logger.handlers[0].flush()
        assert made == [1]
        line = json.loads(stream.getvalue())
        assert (line["event"], line["path"], line["status"]) == ("request", "/", 200)
        logger.setLevel(logging.WARNING)
        EventLogger(logger).deferred("request", fields)
        assert made == [1]


def test_somebody_else_sees_deferred_fields_as_any_others() -> None:
    with handled() as (logger, _):
        events, records = EventLogger(logger), Records()
        events.deferred("before", lambda: {"path": "/"})
        logger.addHandler(records)
        events.deferred("request", lambda: {"path": "/"})
        assert records.fields("request") == [{"path": "/"}]
        assert records.fields("before") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda logger, other: setattr(logger, "handlers", [*logger.handlers, other]),
        lambda logger, other: logger.handlers[0].addFilter(lambda record: other.handle(record) or True),
        lambda logger, other: logger.addFilter(lambda record: other.handle(record) or True),
        lambda logger, other: logger.handlers.append(other),
    ],
)
def test_whoever_comes_later_sees_every_record_from_then_on(change: Any) -> None:
    with handled() as (logger, _):
        events, records = EventLogger(logger), Records()
        events.info("before")
        change(logger, records)
        events.info("after")
        assert [record.getMessage() for record in records.records] == ["after"]
