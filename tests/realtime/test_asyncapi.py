"""The description: sound in itself, and true of what really travels."""

from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel

from hardpoint.realtime import Channels, asyncapi_document
from realtime.serving import serving, some_channels
from support.live import live

pytestmark = pytest.mark.anyio


def description(channels: Channels) -> dict[str, Any]:
    return asyncapi_document(channels, title="t", version="1", path="/live")


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in references(item)]
    return [found for item in value for found in references(item)] if isinstance(value, list) else []


def looked_up(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


class Item(BaseModel):
    number: int


def other_item() -> type[BaseModel]:
    class Item(BaseModel):
        text: str

    return Item


def test_it_has_what_the_standard_asks_for_and_every_reference_leads_somewhere() -> None:
    """As the official schema and parser of AsyncAPI 3.0 check it, which come as packages of another language."""
    document = description(some_channels())
    assert document.keys() == {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}
    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "t", "version": "1"}
    assert document["channels"]["socket"]["address"] == "/live"
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {"/live", "news", "short", "long", "staff", "item:{item_id}", "user:{user_id}"}
    for channel in document["channels"].values():
        assert set(channel.get("parameters", ())) == {
            part for part in ("item_id", "user_id") if part in channel["address"]
        }
    for operation in document["operations"].values():
        own = looked_up(document, operation["channel"]["$ref"])["messages"]
        assert {reference["$ref"].rpartition("/")[2] for reference in operation["messages"]} <= own.keys()
    assert len(references(document)) > 40
    assert all(looked_up(document, reference) for reference in references(document))


def test_channels_that_share_names_are_told_apart() -> None:
    channels = Channels()

    async def guard() -> None:
        """For anybody."""

    channels.channel("socket", message=Item)(guard)
    channels.channel("a:b", message=other_item())(guard)
    channels.channel("a_b", message=list[Item])(guard)
    document = description(channels)
    assert {name: channel["address"] for name, channel in document["channels"].items()} == {
        "socket": "/live",
        "user_user_id": "user:{user_id}",
        "socket_2": "socket",
        "a_b": "a:b",
        "a_b_2": "a_b",
    }
    shapes = []
    for name in ("socket_2", "a_b"):
        data = document["components"]["messages"][f"{name}_message"]["payload"]["allOf"][1]["properties"]["data"]
        shapes.append(looked_up(document, data["$ref"])["properties"].keys())
    assert shapes == [{"number"}, {"text"}]


async def test_what_travels_is_as_it_is_described() -> None:
    async with serving() as bench, live(bench.url, "/ws") as client:
        sent: list[dict[str, Any]] = [
            {"type": "auth", "token": "1/s"},
            {"type": "subscribe", "channel": "short"},
            {"type": "ping"},
            {"type": "subscribe", "channel": "unknown"},
            {"type": "unsubscribe", "channel": "short"},
            {"type": "subscribe", "channel": "news", "since": 5},
        ]
        received = [await client.ask(**message) for message in sent]
        await bench.hub.publish("news", {"any": [1, None]})
        received.append(await client.receive())
        document = description(bench.hub.channels)
    assert [message["type"] for message in received] == [
        *("authenticated", "subscribed", "pong", "error", "unsubscribed", "subscribed", "message")
    ]
    for messages, operation in ((sent, "receiveFromClients"), (received, "sendToClients")):
        payloads = [looked_up(document, message["$ref"]) for message in document["operations"][operation]["messages"]]
        one_of = {"oneOf": [looked_up(document, found["$ref"])["payload"] for found in payloads], **document}
        Draft7Validator.check_schema(one_of)
        for message in messages:
            assert [error.message for error in Draft7Validator(one_of).iter_errors(message)] == []
        assert list(Draft7Validator(one_of).iter_errors({"type": "subscribed", "channel": 5}))


def test_a_client_need_not_say_where_it_was() -> None:
    schema = description(Channels())["components"]["schemas"]["Subscribe"]
    assert schema["required"] == ["type", "channel"]
