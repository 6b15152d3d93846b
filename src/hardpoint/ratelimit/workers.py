"""How many processes serve, as far as one of them can know."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Final

from hardpoint.log import get_logger

__all__ = ["warn_of_several", "worker_count"]

logger = get_logger("hardpoint.ratelimit")

_SERVERS: Final = frozenset({"fastapi", "granian", "gunicorn", "hardpoint", "hypercorn", "uvicorn"})
_OPTIONS: Final = ("--workers", "-w")


def worker_count(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """How many processes the server was told to start: by `--workers`, or by `WEB_CONCURRENCY`; 1 when nobody says.

    A worker finds there what the command was, with all servers of ASGI applications. What starts several servers, such
    as a container platform, is not known here.
    """
    program, *options = arguments or [""]
    # `uvicorn`, or `python -m uvicorn`, whose program is `.../uvicorn/__main__.py`.
    if not _SERVERS.isdisjoint(PurePath(program).parts):
        for place, option in enumerate(options):
            name, _, value = option.partition("=")
            if name in _OPTIONS:
                return _number(value or "".join(options[place + 1 : place + 2]))
    return _number(environment.get("WEB_CONCURRENCY", ""))


def warn_of_several(*, remedy: str) -> None:
    """Log it when several processes serve, each of which counts for itself, and what would help."""
    count = worker_count(sys.argv, os.environ)
    if count > 1:
        logger.warning("limits_are_per_process", workers=count, remedy=remedy)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() else 1
