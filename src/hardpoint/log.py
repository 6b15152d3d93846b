"""Structured logging on the standard library: an event name and fields, never a formatted sentence.

    logger = get_logger("hardpoint.auth")
    logger.info("login_failed", account=account_id)

The event travels through `logging`, so it reaches whatever handlers the application has already configured.
`configure_logging` is for a service that wants ours: JSON lines for machines, one readable line for a terminal.
"""

import json
import logging
import os
import socket
import sys
import traceback
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Literal, TextIO

from hardpoint import context
from hardpoint.tracing import trace_fields

__all__ = [
    "REDACTED",
    "ConsoleFormatter",
    "EventLogger",
    "JsonFormatter",
    "LogFormat",
    "configure_logging",
    "get_logger",
    "instance_name",
]

LogFormat = Literal["json", "console"]
ExcInfo = bool | BaseException | None

REDACTED: Final = "[redacted]"
_SENSITIVE: Final = ("password", "passwd", "secret", "token", "authorization", "cookie", "api_key", "apikey", "ticket")
_MAX_VALUE_LENGTH: Final = 2_000
_PLAIN: Final = frozenset({int, float, bool, type(None)})
_encoder: Final = json.JSONEncoder(default=str)


class EventLogger:
    """A thin layer over `logging.Logger` whose calls take an event name and keyword fields."""

    __slots__ = ("stdlib",)

    def __init__(self, stdlib: logging.Logger) -> None:
        self.stdlib = stdlib

    def debug(self, event: str, **fields: Any) -> None:
        """Log `event` for somebody who is looking for the cause of something."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log `event` as a thing that is meant to happen."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log `event` as a thing that somebody should look at, soon."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, *, exc_info: ExcInfo = None, **fields: Any) -> None:
        """Log `event` as a failure; `exc_info` adds an exception, or the current one for `True`."""
        self._log(logging.ERROR, event, fields, exc_info)

    def exception(self, event: str, **fields: Any) -> None:
        """Log `event` as a failure, with the exception being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(self, level: int, event: str, fields: dict[str, Any], exc_info: ExcInfo = None) -> None:
        if self.stdlib.isEnabledFor(level):
            # stacklevel: the caller of info() and its siblings is where the event happened.
            self.stdlib.log(level, event, extra={"fields": fields}, exc_info=exc_info, stacklevel=3)


def get_logger(name: str) -> EventLogger:
    """The event logger on top of `logging.getLogger(name)`."""
    return EventLogger(logging.getLogger(name))


# Few names come again and again; looking each of them through costs more than the rest of its line.
@lru_cache(maxsize=1_024)
def _is_sensitive(name: str) -> bool:
    lowered = name.lower().replace("-", "_")
    return any(word in lowered for word in _SENSITIVE)


def _clean(value: Any) -> Any:
    """`value` as JSON can hold it, with secrets left out and nothing longer than a reader would read."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return value if len(value) <= _MAX_VALUE_LENGTH else value[:_MAX_VALUE_LENGTH] + "…"
    if isinstance(value, Mapping):
        return {str(key): REDACTED if _is_sensitive(str(key)) else _clean(item) for key, item in value.items()}
    if isinstance(value, Collection) and not isinstance(value, bytes | bytearray):
        return [_clean(item) for item in value]
    if isinstance(value, int | float):
        return value
    return _clean(str(value))


def _message_of(error: BaseException) -> str:
    # The text of a validation error quotes what was validated, passwords included; its class and its count are enough.
    count = getattr(error, "error_count", None)
    if callable(count):
        return f"{count()} validation errors"
    errors = getattr(error, "errors", None)
    if callable(errors):
        return f"{len(errors())} validation errors"
    text = str(error)
    return text if len(text) <= _MAX_VALUE_LENGTH else text[:_MAX_VALUE_LENGTH] + "…"


def _format_exception(error: BaseException) -> str:
    """A traceback like the interpreter's, whose messages cannot quote a request's input."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        trace: TracebackType | None = current.__traceback__
        frames = "".join(traceback.format_tb(trace))
        kind = type(current)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        text = f"Traceback (most recent call last):\n{frames}{name}: {_message_of(current)}"
        if isinstance(current, BaseExceptionGroup):
            text += "".join("\n| " + _format_exception(inner).replace("\n", "\n| ") for inner in current.exceptions)
        parts.append(text)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n\nwhich was caused by\n\n".join(parts)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if (request_id := context.request_id.get()) is not None:
        fields["request_id"] = request_id
    if (principal := context.principal.get()) is not None:
        fields["principal"] = principal
    fields.update(trace_fields())
    fields.update(getattr(record, "fields", {}))
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (ISO 8601 UTC), `level`, `logger`, `event`, then the fields.

    Control characters are escaped by the encoding, so no field can forge a line; fields whose names speak of secrets
    are replaced by `[redacted]`.

    Args:
        static: Fields that every line carries, such as the instance's name.
    """

    def __init__(self, *, static: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._static = dict(static or {})

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`, without the line end."""
        seconds, milliseconds = divmod(int(record.created * 1_000), 1_000)
        entry: dict[str, Any] = {
            "time": f"{_moment(seconds)}.{milliseconds:03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **self._static,
        }
        entry.update(_clean(_fields_of(record)))
        if record.exc_info and record.exc_info[1] is not None:
            entry["exception"] = _format_exception(record.exc_info[1])
        return _encoder.encode(entry)


@lru_cache(maxsize=4)
def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


class ConsoleFormatter(logging.Formatter):
    """One readable line an event, for a developer's terminal.

    Args:
        colour: Whether to colour the level.
    """

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`, an exception's traceback below it."""
        level = f"{record.levelname.lower():<8}"
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(f"{name}={_quoted(value)}" for name, value in _clean(_fields_of(record)).items())
        line = f"{clock} {level} {_printable(record.getMessage())}  {fields}".rstrip()
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + _printable(_format_exception(record.exc_info[1]), keep="\n")
        return line


def _printable(text: str, keep: str = "") -> str:
    # A terminal obeys control characters: a client must not be able to send it any.
    return "".join(
        character if character.isprintable() or character in keep else repr(character)[1:-1] for character in text
    )


def _quoted(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and value and " " not in value:
        return value
    return json.dumps(value, default=str)


def _not_of_sockets(record: logging.LogRecord) -> bool:
    """Whether uvicorn's line is to be kept.

    For each WebSocket it writes the address with its query, in which tokens travel; and it complains of one that was
    refused with an HTTP response, as the ASGI extension for that allows. Our access log has a line for both.
    """
    text = str(record.msg)
    return '"WebSocket %s"' not in text and text != "ASGI callable returned without completing handshake."


def instance_name() -> str:
    """What this process is called where nobody named it: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def configure_logging(
    log_format: LogFormat | None = None,
    *,
    level: int | str = logging.INFO,
    stream: TextIO | None = None,
    static: Mapping[str, str] | None = None,
) -> None:
    """Send every log line of this process to one stream, in one format.

    Uvicorn's own loggers are folded in and its access log, which ours replaces, is switched off.

    Args:
        log_format: `json`, `console`, or `None` for `console` on an interactive terminal and `json` elsewhere.
        level: The lowest level that is written.
        stream: Where to write; standard error by default.
        static: Fields for every JSON line; by default `instance`, this process's `instance_name()`.
    """
    target = sys.stderr if stream is None else stream
    interactive = target.isatty()
    if log_format is None:
        log_format = "console" if interactive else "json"
    if static is None:
        static = {"instance": instance_name()}
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        JsonFormatter(static=static) if log_format == "json" else ConsoleFormatter(colour=interactive),
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.getLogger("uvicorn.error").addFilter(_not_of_sockets)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        uvicorn_logger = logging.getLogger(name)
        uvicorn_logger.handlers.clear()
        uvicorn_logger.propagate = name != "uvicorn.access"
    # These tell of every statement and connection at INFO, which is a debugger's view of a service.
    for name in ("alembic", "httpx2", "aiosqlite", "dbos"):
        logging.getLogger(name).setLevel(
            max(logging.WARNING, logging.getLevelName(level) if isinstance(level, str) else level)
        )
