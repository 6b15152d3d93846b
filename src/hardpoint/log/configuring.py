"""Where the lines of a process go."""

import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import Literal, TextIO

from hardpoint.log.handler import EventHandler
from hardpoint.log.lines import ConsoleFormatter, JsonFormatter

__all__ = ["LogFormat", "configure_logging", "instance_name"]

LogFormat = Literal["json", "console"]


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
    flush_seconds: float = 0.0,
) -> None:
    """Send every log line of this process to one stream, in one format.

    Uvicorn's own loggers are folded in and its access log, which ours replaces, is switched off.

    Args:
        log_format: `json`, `console`, or `None` for `console` on an interactive terminal and `json` elsewhere.
        level: The lowest level that is written.
        stream: Where to write; standard error by default.
        static: Fields for every JSON line; by default `instance`, this process's `instance_name()`.
        flush_seconds: How long a JSON line below a warning may wait to be written together with others; see
            `EventHandler`. 0 writes each at once.
    """
    target = sys.stderr if stream is None else stream
    interactive = target.isatty()
    if log_format is None:
        log_format = "console" if interactive else "json"
    if static is None:
        static = {"instance": instance_name()}
    handler: logging.StreamHandler[TextIO]
    if log_format == "json":
        handler = EventHandler(target, JsonFormatter(static=static), flush_seconds=flush_seconds)
    else:
        handler = logging.StreamHandler(target)
        handler.setFormatter(ConsoleFormatter(colour=interactive))
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
