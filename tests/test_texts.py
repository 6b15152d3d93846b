"""Where several texts are wanted, one alone would be its letters."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette

from hardpoint.auth import Auth, MemoryDatabase, MemoryStore, PasswordPolicy, require_owner
from hardpoint.errors import NotFound
from hardpoint.lifespan import DrainMiddleware
from hardpoint.middleware import AccessLogMiddleware, ClientAddressMiddleware, CORSMiddleware, TimeLimitMiddleware
from hardpoint.ratelimit import RateLimit, RateLimitMiddleware
from hardpoint.realtime import Channels, open_hub
from hardpoint.texts import texts


async def nothing() -> None:
    raise NotFound


def test_several_are_a_set() -> None:
    assert texts("paths", ["/a", "/b", "/a"]) == {"/a", "/b"}


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda app: AccessLogMiddleware(app, exempt_paths="/health"), "exempt_paths"),
        (lambda app: AccessLogMiddleware(app, log_query="page"), "log_query"),
        (lambda app: TimeLimitMiddleware(app, seconds=1, exempt_paths="/poll"), "exempt_paths"),
        (lambda app: DrainMiddleware(app, exempt_paths="/health"), "exempt_paths"),
        (lambda app: RateLimitMiddleware(app, limits=[RateLimit("1/minute")], exempt_paths="/h"), "exempt_paths"),
        (lambda app: CORSMiddleware(app, allow_origins="https://app.example.com"), "allow_origins"),
        (lambda app: ClientAddressMiddleware(app, trusted="10.0.0.0/8"), "trusted"),
        (lambda _: PasswordPolicy(context_words="acme"), "context_words"),
        (lambda _: require_owner(nothing, owner_id=lambda _: 1, roles="admin"), "roles"),
    ],
)
def test_one_alone_is_refused_at_once(make: Callable[[Starlette], Any], option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be a list"):
        make(Starlette())


async def test_one_origin_alone_opens_no_hub() -> None:
    with pytest.raises(ValueError, match="allowed_origins must be a list"):
        async with open_hub(Channels(), allowed_origins="https://app.example.com"):
            pass


async def test_one_word_about_a_user_alone_is_no_list_of_letters() -> None:
    with pytest.raises(ValueError, match="about_user must be a list"):
        await PasswordPolicy().check("correct horse battery staple", about_user="ann")


async def test_one_scope_alone_gives_no_part_of_it() -> None:
    """A guard asks whether its scope is among the key's, and `metrics` is in `metrics:read`."""
    auth = Auth(store=MemoryStore, secret=b"x" * 32, require_verified_email=False)
    one: Any = "metrics:read"
    async with MemoryDatabase().session() as session:
        with pytest.raises(ValueError, match="scopes must be a list"):
            await auth.api_keys.create(session, name="n", scopes=one)
