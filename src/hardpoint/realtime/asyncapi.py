"""The socket's description as an AsyncAPI 3.0 document."""

import re
from typing import Any, Final, Literal

from pydantic import BaseModel, TypeAdapter

from hardpoint.realtime.channels import Channel, Channels
from hardpoint.realtime.messages import (
    Authenticate,
    Authenticated,
    ChannelMessage,
    ErrorMessage,
    Ping,
    Pong,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)

__all__ = ["asyncapi_document"]

_Models = list[type[BaseModel]]
_SENT_BY_CLIENTS: Final[_Models] = [Subscribe, Unsubscribe, Ping, Authenticate]
_SENT_BY_THE_SERVER: Final[_Models] = [ChannelMessage, Subscribed, Unsubscribed, Pong, Authenticated, ErrorMessage]
_SCHEMA_PATH: Final = "#/components/schemas/{model}"


def asyncapi_document(channels: Channels, *, title: str, version: str, path: str = "/ws") -> dict[str, Any]:
    """The document: the socket with the messages of both sides, and what each channel carries.

    Args:
        channels: The application's channels.
        title: The application's name.
        version: Its version.
        path: Where the socket is.
    """
    named = _named(channels)
    schemas, payloads = _schemas(named)
    messages = {
        model.__name__: _message(model.__name__, _first_line(model.__doc__), payloads[model.__name__])
        for model in [*_SENT_BY_CLIENTS, *_SENT_BY_THE_SERVER]
    }
    described: dict[str, Any] = {
        "socket": {
            "address": path,
            "title": "The socket",
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            "bindings": {"ws": {"method": "GET"}},
        }
    }
    for name, channel in named.items():
        carried = f"{name}_message"
        payload = {"allOf": [payloads[ChannelMessage.__name__], {"properties": {"data": payloads[name]}}]}
        messages[carried] = _message(carried, f"A message of {channel.pattern}", payload)
        described[name] = {
            "address": channel.pattern,
            "description": f"{_first_line(channel.guard.__doc__)} Subscribe to it over the socket.",
            "parameters": {key: {"description": f"The {key} of the channel's name"} for key in channel.parameters},
            "messages": {carried: {"$ref": f"#/components/messages/{carried}"}},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "channels": described,
        "operations": {
            "receiveFromClients": _operation("receive", _SENT_BY_CLIENTS),
            "sendToClients": _operation("send", _SENT_BY_THE_SERVER),
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _named(channels: Channels) -> dict[str, Channel]:
    """The channels by names that the document's keys allow: letters, digits and lines."""
    named: dict[str, Channel] = {}
    for channel in channels:
        name = plain = re.sub(r"[^A-Za-z0-9]+", "_", channel.pattern).strip("_") or "channel"
        number = 1
        while name in named or name == "socket":
            number += 1
            name = f"{plain}_{number}"
        named[name] = channel
    return named


def _schemas(named: dict[str, Channel]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What all payloads share, and each payload; made together, so that types of one name stay two types."""
    adapters: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = [
        *((model.__name__, "validation", TypeAdapter(model)) for model in _SENT_BY_CLIENTS),
        *((model.__name__, "serialization", TypeAdapter(model)) for model in _SENT_BY_THE_SERVER),
        *((name, "serialization", channel.message) for name, channel in named.items()),
    ]
    payloads, definitions = TypeAdapter.json_schemas(adapters, ref_template=_SCHEMA_PATH)
    return definitions.get("$defs", {}), {str(name): schema for (name, _), schema in payloads.items()}


def _message(name: str, summary: str, payload: Any) -> dict[str, Any]:
    return {"name": name, "summary": summary, "contentType": "application/json", "payload": payload}


def _operation(action: str, models: _Models) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/socket"},
        "messages": [{"$ref": f"#/channels/socket/messages/{model.__name__}"} for model in models],
    }


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0]
