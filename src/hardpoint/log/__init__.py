"""Structured logging on the standard library: an event name and fields, never a formatted sentence.

    logger = get_logger("hardpoint.auth")
    logger.info("login_failed", account=account_id)

The event reaches whatever handlers the application has already configured for `logging`, with the message
`login_failed account=7`; a handler or filter that wants to know more finds `record.event` and `record.fields`.
`configure_logging` is for a service that wants our lines: JSON for machines, one readable line for a terminal.
"""

from hardpoint.log.configuring import LogFormat, configure_logging, instance_name
from hardpoint.log.events import EventLogger, get_logger
from hardpoint.log.handler import EventHandler
from hardpoint.log.lines import ConsoleFormatter, JsonFormatter
from hardpoint.log.safe import REDACTED

__all__ = [
    "REDACTED",
    "ConsoleFormatter",
    "EventHandler",
    "EventLogger",
    "JsonFormatter",
    "LogFormat",
    "configure_logging",
    "get_logger",
    "instance_name",
]
