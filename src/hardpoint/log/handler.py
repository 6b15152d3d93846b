"""The handler of JSON lines, which takes events without a detour and may write several of them at once."""

import asyncio
import logging
from collections import deque
from typing import Final, TextIO

from hardpoint.log.lines import Event, JsonFormatter

__all__ = ["EventHandler"]

_MAX_WAITING: Final = 1_000
_UNCHANGING: Final = frozenset({str, int, float, bool, type(None)})


class EventHandler(logging.StreamHandler[TextIO]):
    """Writes JSON lines to a stream; from an `EventLogger` also without a `logging.LogRecord`.

    A record costs more than the line that is made of it, so an event for which this is the only handler goes straight
    into its line. As soon as anybody else would see the record (another handler, a filter, a record factory, an error
    tracker that patches `logging`), it is made and goes its usual way.

    With `flush_seconds` what is logged on an event loop waits that long, and the lines are made and written together,
    for a third of the price. Warnings, errors and an orderly end write at once what waits, in order; a process that is
    killed loses it.

    Args:
        stream: Where to write.
        formatter: Makes the lines.
        flush_seconds: How long a line below a warning may wait; 0 writes each at once.
    """

    def __init__(self, stream: TextIO, formatter: JsonFormatter, *, flush_seconds: float = 0.0) -> None:
        if flush_seconds < 0:
            raise ValueError("flush_seconds must not be negative")
        super().__init__(stream)
        self.setFormatter(formatter)
        self._flush_seconds = flush_seconds
        self._waiting: deque[Event] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def take(self, event: Event) -> None:
        """Write the line of an event, or let it wait for others.

        Raises:
            Exception: What the stream raises.
        """
        self._waiting.append(event)
        if not self._may_wait(event):
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record, after those that wait."""
        self.flush()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits."""
        self.acquire()
        try:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            lines: list[str] = []
            formatter = self.formatter
            try:
                while self._waiting:
                    event = self._waiting.popleft()
                    if isinstance(formatter, JsonFormatter):
                        lines += (formatter.line(event), self.terminator)
            finally:
                # Those before one that cannot be made are written all the same.
                if lines:
                    self.stream.write("".join(lines))
            super().flush()
        finally:
            self.release()

    def _may_wait(self, event: Event) -> bool:
        if not self._flush_seconds or event.level >= logging.WARNING or len(self._waiting) >= _MAX_WAITING:
            return False
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        # Somebody may change what can be changed before its line is made.
        if not callable(event.fields) and not _UNCHANGING.issuperset(map(type, event.fields.values())):
            return False
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self._flush_seconds, self.flush)
        return True
