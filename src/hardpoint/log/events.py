"""Loggers that take an event and its fields."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from operator import attrgetter
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


# What decides who sees the records of a logger and of a handler.
_of_logger: Final = attrgetter("handlers", "filters", "propagate", "parent")
_of_handler: Final = attrgetter("filters", "level", "formatter")


def _of_logging() -> tuple[object, object]:
    """The same for all of `logging`."""
    return logging.Logger.callHandlers, logging.getLogRecordFactory()


class _Destination:
    """Where the events of a logger go.

    It is found once and compared with what is so now, in C, at each event: to look for it anew would take three times
    as long, and nobody says when `logging` is configured differently.

    Args:
        logger: The logger.

    Attributes:
        handler: The `EventHandler` of JSON lines that alone would see what is logged, if there is one.
    """

    __slots__ = ("_handlers", "_loggers", "_state", "handler")

    def __init__(self, logger: logging.Logger) -> None:
        self._loggers = [logger]
        while (current := self._loggers[-1]).propagate and current.parent is not None:
            self._loggers.append(current.parent)
        self._handlers = [handler for each in self._loggers for handler in each.handlers]
        self._state = self._state_now()
        has_filters = any(each.filters for each in [*self._loggers, *self._handlers])
        is_patched = _of_logging() != (_CALL_HANDLERS, logging.LogRecord)
        self.handler: EventHandler | None = None
        if has_filters or is_patched or len(self._handlers) != 1:
            return
        (only,) = self._handlers
        if type(only) is EventHandler and only.level <= logging.NOTSET and type(only.formatter) is JsonFormatter:
            self.handler = only

    def is_current(self) -> bool:
        """Whether it still is what would be found."""
        return self._state == (
            _of_logging(),
            list(map(_of_logger, self._loggers)),
            list(map(_of_handler, self._handlers)),
        )

    def _state_now(self) -> tuple[Any, Any, Any]:
        # Copies of the lists, which others change in place.
        loggers = [(list(each.handlers), list(each.filters), each.propagate, each.parent) for each in self._loggers]
        handlers = [(list(each.filters), each.level, each.formatter) for each in self._handlers]
        return _of_logging(), loggers, handlers


class EventLogger:
    """A thin layer over `logging.Logger` whose calls take an event name and keyword fields."""

    __slots__ = ("_destination", "stdlib")

    def __init__(self, stdlib: logging.Logger) -> None:
        self.stdlib = stdlib
        self._destination = _Destination(stdlib)

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
        destination = self._destination
        if not destination.is_current():
            destination = self._destination = _Destination(stdlib)
        handler = destination.handler
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
