"""Declaring channels."""

from collections.abc import Callable
from math import nan
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import Depends

from hardpoint.auth import Auth
from hardpoint.errors import NotFound
from hardpoint.realtime import Channels, Identity, Limits, open_hub, realtime_router
from hardpoint.realtime.authentication import SessionAuthenticator


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


async def open_a_hub(channels: Any, **options: Any) -> None:
    async with open_hub(channels, **options):
        raise AssertionError("nothing is served")


def test_a_decorator_without_its_brackets_declares_nothing_and_says_so() -> None:
    channels: Any = Channels()
    with pytest.raises(TypeError, match=r"takes a name, @channels.channel\('posts'\)"):

        @channels.channel
        async def posts() -> None: ...


@pytest.mark.parametrize(
    "make",
    [lambda: Channels().channel("c", history=10), lambda: Channels(user_history=10)],  # type: ignore[arg-type]
)
def test_a_history_that_is_a_number_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="history takes History.* not a int"):
        make()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"channels": Channels}, r"channels takes Channels\(\)"),
        ({"authenticator": Auth}, "authenticator takes SessionAuthenticator"),
        ({"authenticator": SessionAuthenticator}, "authenticator takes SessionAuthenticator"),
        ({"limits": "20/second"}, "limits takes Limits"),
    ],
)
async def test_a_hub_of_something_else_is_not_opened(options: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        await open_a_hub(**{"channels": Channels(), **options})


@pytest.mark.parametrize("origin", ["*", "https://app.example.com/", "app.example.com"])
async def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match=r"write it as scheme://host\[:port\]"):
        await open_a_hub(Channels(), allowed_origins=[origin])


@pytest.mark.parametrize("options", [{"socket_path": "ws"}, {"events_path": "events"}, {"asyncapi_path": False}])
def test_a_path_that_nobody_could_reach_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must begin with a slash"):
        realtime_router(**options)


@pytest.mark.parametrize("options", [{"authentication_seconds": 0}, {"max_frame_bytes": -1}, {"stalled_seconds": nan}])
def test_limits_that_would_let_nothing_pass_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be more than 0"):
        Limits(**options)


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


def typed() -> Channels:
    channels = Channels()

    @channels.channel("post:{post_id}")
    async def post(post: Annotated[int, Depends(identify)]) -> None:
        """By a dependency's path parameter."""

    @channels.channel("at:{place}:{flag}")
    async def place(place: UUID, flag: bool) -> None:
        """Two of other types."""

    return channels


async def identify(post_id: int) -> int:
    return post_id


@pytest.mark.parametrize(
    "name", ["post:7", "post:-7", "post:" + "9" * 190, "at:6ba7b810-9dad-11d1-80b4-00c04fd430c8:true", "post:x"]
)
def test_a_channel_has_the_name_that_its_parameters_are_written_with(name: str) -> None:
    assert typed().match(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "post:07",
        "post:7.0",
        "post:7_0",
        "post:-0",
        "at:6BA7B810-9dad-11d1-80b4-00c04fd430c8:true",
        "at:6ba7b8109dad11d180b400c04fd430c8:true",
        "at:6ba7b810-9dad-11d1-80b4-00c04fd430c8:1",
    ],
)
def test_and_no_other_that_a_route_would_read_as_the_same(name: str) -> None:
    """Each would be a channel of its own, which nobody publishes to, in the store for a day."""
    with pytest.raises(NotFound):
        typed().match(name)


@pytest.mark.parametrize(
    ("pattern", "name", "parameters"),
    [
        ("room:lobby", "room:lobby", {}),
        ("room:lobby", "room", None),
        ("room:lobby", "room:LOBBY", None),
        ("Room", "room", None),
        ("room:{room}", "room:1", {"room": "1"}),
        ("room:{room}", "room:1:staff", None),
        ("room:{room}", "room:", None),
        ("room:{room}:staff", "room:1:staff", {"room": "1"}),
        ("room:{room}:staff", "room:1", None),
        ("room:{room:int}.{kind}:x", "room:7.a:x", {"room": "7", "kind": "a"}),
        ("room:{room:int}", "room:a", None),
        ("room:{rest:path}", "room:1:staff:x", {"rest": "1:staff:x"}),
        ("{a}:{b}", "x:y", {"a": "x", "b": "y"}),
    ],
)
def test_a_pattern_is_read_as_a_routes_path_whose_slash_is_a_colon(
    pattern: str, name: str, parameters: dict[str, str] | None
) -> None:
    channels = Channels()
    channels.channel(pattern)(anybody)
    if parameters is None:
        with pytest.raises(NotFound):
            channels.match(name)
    else:
        assert channels.match(name).parameters == parameters
