"""The two clocks everything reads, so that tests can replace them.

A part takes `clock: Clock = wall_clock` (or `monotonic_clock`) and calls it; a test passes a function of its own.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["Clock", "monotonic_clock", "utc_datetime", "wall_clock"]


Clock = Callable[[], float]

wall_clock: Clock = time.time
"""Seconds since the Unix epoch. For what is stored or sent: expiry, `iat`, timestamps."""

monotonic_clock: Clock = time.monotonic
"""Seconds from an arbitrary start that never go backwards. For durations within one process."""


def utc_datetime(seconds: float) -> datetime:
    """The aware UTC `datetime` of `seconds` since the Unix epoch."""
    return datetime.fromtimestamp(seconds, UTC)
