"""Loggers that take an event and its fields."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final

from hardpoint.log.handler import EventHandler
from hardpoint.log.lines import Event, EventMessage, Fields, JsonFormatter, origin

__all__ = ["EventLogger", "get_logger"]

ExcInfo = bool | BaseException | None


def _is_of_logging(function: object) -> bool:
    # Not by its `__module__`, which a wrapper may have copied.
    return type(function) is FunctionType and function.__globals__ is vars(logging)


# What others replace who want to see every record, error trackers among them. They may have come before us: then
# there is no telling what is theirs, and every event is a record.
_CALL_HANDLERS: Final = logging.Logger.callHandlers if _is_of_logging(logging.Logger.callHandlers) else None


def _json_handler(logger: logging.Logger) -> EventHandler | None:
    """The `EventHandler` of JSON lines that alone would see what `logger` logs, if there is one."""
    if logging.Logger.callHandlers is not _CALL_HANDLERS or logging.getLogRecordFactory() is not logging.LogRecord:
        return None
    only: logging.Handler | None = None
    current: logging.Logger | None = logger
    while current is not None:
        if current.filters:
            return None
        if current.handlers:
            if only is not None or len(current.handlers) > 1:
                return None
            only = current.handlers[0]
        current = current.parent if current.propagate else None
    if type(only) is not EventHandler or only.filters or only.level > logging.NOTSET:
        return None
    return only if type(only.formatter) is JsonFormatter else None


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

    def deferred(self, event: str, fields: Callable[[], Mapping[str, Any]]) -> None:
        """Log `event` as a thing that is meant to happen, with fields that are made when its line is.

        For what every request logs: lines that wait for each other are made together, at a third of the price.

        Args:
            event: The event's name.
            fields: Gives texts, numbers and `None` alone, none of which is secret or longer than anybody reads, from
                what nobody changes meanwhile.
        """
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

    def _log(self, level: int, event: str, fields: Fields, exc_info: ExcInfo = None) -> None:
        stdlib = self.stdlib
        if not stdlib.isEnabledFor(level):
            return
        handler = _json_handler(stdlib)
        if handler is not None:
            error = sys.exc_info()[1] if exc_info is True else exc_info or None
            try:
                handler.take(Event(time.time(), level, stdlib.name, event, fields, error, origin()))
            except Exception:  # noqa: BLE001, S110 - `logging` reports what a stream or a value does, in its own way.
                pass
            else:
                return
        # stacklevel: the caller of info() and its siblings is where the event happened.
        fields = fields() if callable(fields) else fields
        message = EventMessage(event, fields)
        stdlib.log(level, message, extra={"event": event, "fields": fields}, exc_info=exc_info, stacklevel=3)


def get_logger(name: str) -> EventLogger:
    """The event logger on top of `logging.getLogger(name)`."""
    return EventLogger(logging.getLogger(name))
