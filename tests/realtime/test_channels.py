"""Declaring channels."""

from typing import Any

import pytest

from hardpoint.errors import NotFound
from hardpoint.realtime import Channels, Identity, asyncapi_document


async def anybody() -> None:
    """For anybody."""


@pytest.mark.parametrize("pattern", ["", "a b", "a/b", "a\n", "ä", "x" * 201, "user:{user_id}", "twice"])
def test_a_name_that_cannot_be_is_refused_when_it_is_declared(pattern: str) -> None:
    channels = Channels()
    channels.channel("twice")(anybody)
    with pytest.raises(ValueError, match="no channel|declared twice"):
        channels.channel(pattern)(anybody)


def test_a_guard_must_be_async() -> None:
    def not_async() -> Any: ...

    with pytest.raises(TypeError, match="async"):
        Channels().channel("c")(not_async)


def test_the_first_that_matches_wins() -> None:
    channels = Channels()
    channels.channel("post:{post_id}")(anybody)
    channels.channel("post:new")(anybody)
    assert channels.match("post:new").channel.pattern == "post:{post_id}"
    assert channels.match("post:7").parameters == {"post_id": "7"}


def test_user_is_short_for_ones_own() -> None:
    channels = Channels()
    assert channels.match("user", Identity(7)).name == "user:7"
    for nobody in (None, Identity(None)):
        with pytest.raises(NotFound):
            channels.match("user", nobody)


def test_the_description_names_every_channel_and_message_and_every_reference_leads_somewhere() -> None:
    channels = Channels()

    @channels.channel("post:{post_id}", message=list[int])
    async def comments(post_id: int) -> None:
        """A post's comments."""

    document = asyncapi_document(channels, title="t", version="1", path="/live")
    assert document["asyncapi"].startswith("3.")
    assert document["channels"]["socket"]["address"] == "/live"
    assert document["channels"]["comments"]["address"] == "post:{post_id}"
    assert document["channels"]["comments"]["parameters"].keys() == {"post_id"}
    assert {"Subscribe", "Subscribed", "Authenticate", "ErrorMessage"} <= document["components"]["messages"].keys()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for item in value.values() for found in references(item)]
        return [found for item in value for found in references(item)] if isinstance(value, list) else []

    assert len(references(document)) > 20
    for reference in references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found
