"""What caused a message: the request's id and its trace, which go with it to every process that sends it on."""

import logging
from typing import Final
from urllib.parse import parse_qsl, urlencode

from hardpoint import context
from hardpoint.log import get_logger
from hardpoint.tracing import carried, continued

__all__ = ["current_origin", "tell_of"]

logger = get_logger("hardpoint.realtime")

_REQUEST_ID: Final = "request_id"
_TRACE: Final = b"traceparent="


def current_origin() -> bytes:
    """What causes a message that is published now; empty outside of a request, a job and a trace. Has no spaces."""
    fields = carried()
    if (request_id := context.request_id.get()) is not None:
        fields[_REQUEST_ID] = request_id
    return urlencode(fields).encode()


def tell_of(channel: str, offset: int, origin: bytes, *, listeners: int) -> None:
    """Say that a message has reached a process that sends it on: a span of its trace, and a log line for debugging.

    Args:
        channel: The channel's name.
        offset: The message's.
        origin: What `current_origin` was when it was published.
        listeners: To how many it is sent.
    """
    is_traced = _TRACE in origin
    # Most messages are neither, and nothing is read.
    if not is_traced and not logger.stdlib.isEnabledFor(logging.DEBUG):
        return
    fields = dict(parse_qsl(origin.decode()))
    token = context.request_id.set(fields.pop(_REQUEST_ID, None))
    try:
        if is_traced:
            attributes: dict[str, str | int] = {
                "hardpoint.channel": channel,
                "hardpoint.offset": offset,
                "hardpoint.listeners": listeners,
            }
            with continued("channel message", fields, attributes):
                logger.debug("channel_message", channel=channel, offset=offset, listeners=listeners)
        else:
            logger.debug("channel_message", channel=channel, offset=offset, listeners=listeners)
    finally:
        context.request_id.reset(token)
