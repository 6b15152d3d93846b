"""Events as lines: JSON for machines, one readable line for a terminal."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from pydantic_core import to_json

from hardpoint import context
from hardpoint.log.safe import add_clean, format_exception
from hardpoint.tracing import trace_fields

__all__ = ["ConsoleFormatter", "JsonFormatter"]

_LEVELS: Final = {getattr(logging, name): name.lower() for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}
_slow_encoder: Final = json.JSONEncoder(default=str)


def _add_fields(entry: dict[str, Any], fields: Mapping[str, Any]) -> None:
    if (request_id := context.request_id.get()) is not None:
        entry["request_id"] = request_id
    if (principal := context.principal.get()) is not None:
        entry["principal"] = principal
    entry.update(trace_fields())
    add_clean(entry, fields)


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
        return self.line(record.created, record.levelno, record.name, record.getMessage(), fields, error)

    def line(
        self,
        created: float,
        level: int,
        logger: str,
        event: str,
        fields: Mapping[str, Any],
        error: BaseException | None,
    ) -> str:
        """The line for an event, without the line end.

        Args:
            created: When it happened, in seconds since the epoch.
            level: One of `logging`'s.
            logger: The logger's name.
            event: The event's name.
            fields: What the event carries.
            error: The exception that belongs to it.
        """
        seconds, milliseconds = divmod(int(created * 1_000), 1_000)
        entry: dict[str, Any] = {
            "time": f"{_moment(seconds)}.{milliseconds:03}Z",
            "level": _LEVELS.get(level) or logging.getLevelName(level).lower(),
            "logger": logger,
            "event": event,
            **self._static,
        }
        _add_fields(entry, fields)
        if error is not None:
            entry["exception"] = format_exception(error)
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
        fields: dict[str, Any] = {}
        _add_fields(fields, getattr(record, "fields", {}))
        shown = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
        line = f"{clock} {level} {_printable(record.getMessage())}  {shown}".rstrip()
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + _printable(format_exception(record.exc_info[1]), keep="\n")
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
