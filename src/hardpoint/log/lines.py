"""Events as lines: JSON for machines, one readable line for a terminal."""

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic_core import to_json

from hardpoint import context
from hardpoint.log.safe import add_clean, format_exception
from hardpoint.tracing import trace_fields

__all__ = ["ConsoleFormatter", "Event", "EventMessage", "Fields", "JsonFormatter", "origin"]

_LEVELS: Final = {getattr(logging, name): name.lower() for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}
_slow_encoder: Final = json.JSONEncoder(default=str)


Fields: TypeAlias = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""What an event carries, or what gives that when its line is made."""


class Event(NamedTuple):
    """What happened.

    Attributes:
        created: When, in seconds since the epoch.
        level: One of `logging`'s.
        logger: The logger's name.
        name: The event's name.
        fields: What it carries; or what gives that, which then is known to be harmless and to wait unchanged.
        error: The exception that belongs to it.
        origin: In which request and trace it happened.
    """

    created: float
    level: int
    logger: str
    name: str
    fields: Fields
    error: BaseException | None
    origin: Mapping[str, str]


def origin() -> dict[str, str]:
    """The request, the principal and the trace in which this is called, as fields."""
    found = trace_fields()
    if (principal := context.principal.get()) is not None:
        found["principal"] = principal
    if (request_id := context.request_id.get()) is not None:
        found["request_id"] = request_id
    return found


class EventMessage:
    """An event as the message of a `logging.LogRecord`: `request method=GET status=200`.

    That is what every formatter but ours writes, which know nothing of fields.

    Args:
        name: The event's name.
        fields: What it carries.
    """

    __slots__ = ("_fields", "_name")

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        self._name = name
        self._fields = fields

    def __str__(self) -> str:
        return f"{_printable(self._name)} {_shown(self._fields)}".rstrip()


def _name_of(record: logging.LogRecord) -> str:
    # Not by the message alone: a handler in between may have made it a text, as `QueueHandler` does.
    name: object = getattr(record, "event", None) if hasattr(record, "fields") else None
    return name if isinstance(name, str) else record.getMessage()


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
        error = record.exc_info[1] if record.exc_info else None
        fields = getattr(record, "fields", {})
        name = _name_of(record)
        return self.line(Event(record.created, record.levelno, record.name, name, fields, error, origin()))

    def line(self, event: Event) -> str:
        """The line for `event`, without the line end."""
        seconds, milliseconds = divmod(int(event.created * 1_000), 1_000)
        entry: dict[str, Any] = {
            "time": f"{_moment(seconds)}.{milliseconds:03}Z",
            "level": _LEVELS.get(event.level) or logging.getLevelName(event.level).lower(),
            "logger": event.logger,
            "event": event.name,
            **self._static,
            **event.origin,
        }
        if callable(event.fields):
            entry.update(event.fields())
        else:
            add_clean(entry, event.fields)
        if event.error is not None:
            entry["exception"] = format_exception(event.error)
        return _encode(entry)


def _encode(entry: dict[str, Any]) -> str:
    try:
        # A third of the price of the standard library's encoder.
        line = to_json(entry, ensure_ascii=True, inf_nan_mode="constants", fallback=str).decode("ascii")
    except ValueError:
        # A lone surrogate, which is no text that UTF-8 has.
        return _slow_encoder.encode(entry)
    # The one control character that JSON lets stand.
    return line.replace("\x7f", "\\u007f") if "\x7f" in line else line


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
        line = f"{clock} {level} {_printable(_name_of(record))}  {_shown(getattr(record, 'fields', {}))}".rstrip()
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + _printable(format_exception(record.exc_info[1]), keep="\n")
        return line


def _shown(fields: Mapping[str, Any]) -> str:
    entry: dict[str, Any] = {**origin()}
    add_clean(entry, fields)
    return " ".join(f"{name}={_quoted(value)}" for name, value in entry.items())


def _printable(text: str, keep: str = "") -> str:
    # A terminal obeys control characters: a client must not be able to send it any.
    return "".join(
        character if character.isprintable() or character in keep else repr(character)[1:-1] for character in text
    )


def _quoted(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and value and " " not in value:
        return value
    return json.dumps(value, default=str)
