"""The socket's description as an AsyncAPI 3.0 document."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from hardpoint.realtime.channels import Channels
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

_SENT_BY_CLIENTS: Final[list[type[BaseModel]]] = [Subscribe, Unsubscribe, Ping, Authenticate]
_SENT_BY_THE_SERVER: Final[list[type[BaseModel]]] = [
    ChannelMessage,
    Subscribed,
    Unsubscribed,
    Pong,
    Authenticated,
    ErrorMessage,
]
_SCHEMA_PATH: Final = "#/components/schemas/{model}"


def asyncapi_document(channels: Channels, *, title: str, version: str, path: str = "/ws") -> dict[str, Any]:
    """The document: the socket with the messages of both sides, and what each channel carries.

    Args:
        channels: The application's channels.
        title: The application's name.
        version: Its version.
        path: Where the socket is.
    """
    models = [*_SENT_BY_CLIENTS, *_SENT_BY_THE_SERVER]
    _, definitions = models_json_schema([(model, "serialization") for model in models], ref_template=_SCHEMA_PATH)
    schemas: dict[str, Any] = dict(definitions["$defs"])
    messages = {
        model.__name__: {
            "name": model.__name__,
            "summary": _first_line(model.__doc__),
            "contentType": "application/json",
            "payload": {"$ref": _SCHEMA_PATH.format(model=model.__name__)},
        }
        for model in models
    }
    described: dict[str, Any] = {}
    for channel in channels:
        schema = channel.message.json_schema(mode="serialization", ref_template=_SCHEMA_PATH)
        schemas.update(schema.pop("$defs", {}))
        name = f"{channel.guard.__name__.strip('_')}_message"
        messages[name] = {
            "name": name,
            "summary": f"A message of {channel.pattern}",
            "contentType": "application/json",
            "payload": {
                "allOf": [
                    {"$ref": _SCHEMA_PATH.format(model=ChannelMessage.__name__)},
                    {"type": "object", "properties": {"data": schema}},
                ]
            },
        }
        described[channel.guard.__name__.strip("_")] = {
            "address": channel.pattern,
            "description": f"{_first_line(channel.guard.__doc__)} Subscribe to it over the socket.",
            "parameters": {name: {"description": f"The {name} of the channel's name"} for name in channel.parameters},
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
    socket = {
        "address": path,
        "title": "The socket",
        "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in models},
        "bindings": {"ws": {"method": "GET"}},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "channels": {"socket": socket, **described},
        "operations": {
            "receiveFromClients": _operation("receive", "socket", _SENT_BY_CLIENTS),
            "sendToClients": _operation("send", "socket", _SENT_BY_THE_SERVER),
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _operation(action: str, channel: str, models: list[type[BaseModel]]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{model.__name__}"} for model in models],
    }


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0]
