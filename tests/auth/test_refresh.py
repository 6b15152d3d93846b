"""Refresh tokens and session cookies: their format against forgers, and their rotation against a replaced clock."""

import asyncio
import string
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardpoint.auth import (
    AccessTokens,
    Auth,
    Client,
    Key,
    KeySet,
    MemoryDatabase,
    MemoryStore,
    MemoryUser,
    PasswordHasher,
    PasswordPolicy,
    TokenPair,
)
from hardpoint.auth.refresh import SessionSecrets, SessionToken, new_session_id, new_session_secret
from hardpoint.db import Database, open_database
from hardpoint.errors import InvalidToken, TokenReused
from hardpoint.service.base import Base
from hardpoint.service.users.models import AUTH_MODELS
from support.asgi import logged

SECRET = b"a secret of thirty-two bytes or more"
SESSION_SECRET = bytes(range(32))
SESSION_ID = "AAAAAAAAAAAAAAAAAAAAAA"
NOW = 1_800_000_000.0
PASSWORD = "correct horse battery staple"
CLIENT = Client(address="203.0.113.7", device="probe")
URL_SAFE = string.ascii_letters + string.digits + "-_"

secrets = SessionSecrets(SECRET)
session_ids = st.text(alphabet=URL_SAFE, min_size=16, max_size=32)
session_secrets = st.binary(min_size=32, max_size=32)
generations = st.integers(0, 999_999_999)


def holds(text: str, secret: bytes = SESSION_SECRET, by: SessionSecrets = secrets) -> tuple[bool, bool]:
    """Whether `text` is a refresh token, and whether it is a cookie, of a session with this secret."""
    token = SessionToken.parse(text)
    if token is None:
        return False, False
    return by.is_refresh_token(token, secret), by.is_cookie(token, secret)


# The format


@given(session_ids, session_secrets, generations)
def test_a_refresh_token_holds_for_its_own_claims(session_id: str, secret: bytes, generation: int) -> None:
    text = secrets.refresh_token(session_id, secret, generation)
    token = SessionToken.parse(text)
    assert token is not None
    assert (token.session_id, token.generation) == (session_id, generation)
    assert holds(text, secret) == (True, False)
    assert text == secrets.refresh_token(session_id, secret, generation)


@given(session_ids, session_secrets)
def test_a_cookie_holds_as_a_cookie_alone(session_id: str, secret: bytes) -> None:
    assert holds(secrets.cookie(session_id, secret), secret) == (False, True)


@given(session_ids, session_ids, session_secrets, session_secrets, generations, generations)
def test_a_mac_does_not_hold_for_other_claims(
    session_id: str, other_id: str, secret: bytes, other_secret: bytes, generation: int, other_generation: int
) -> None:
    mac = secrets.refresh_token(session_id, secret, generation).rpartition(".")[2]
    same = (session_id, secret, generation) == (other_id, other_secret, other_generation)
    for an_id, a_secret, a_generation in (
        (other_id, secret, generation),
        (session_id, other_secret, generation),
        (session_id, secret, other_generation),
        (other_id, other_secret, other_generation),
    ):
        expected = same or (an_id, a_secret, a_generation) == (session_id, secret, generation)
        assert holds(f"{an_id}.{a_generation}.{mac}", a_secret)[0] == expected


def test_another_services_secret_makes_other_tokens() -> None:
    text = secrets.refresh_token(SESSION_ID, SESSION_SECRET, 3)
    other = SessionSecrets(SECRET[::-1])
    assert holds(text, by=other) == (False, False)
    assert other.refresh_token(SESSION_ID, SESSION_SECRET, 3) != text


TOKENS = [secrets.refresh_token(SESSION_ID, SESSION_SECRET, 12), secrets.cookie(SESSION_ID, SESSION_SECRET)]


@pytest.mark.parametrize("text", TOKENS)
def test_one_changed_character_holds_for_nothing(text: str) -> None:
    """The last one of the mac too, of which two bits carry nothing."""
    for place, before in enumerate(text):
        for character in {*URL_SAFE, ".", "=", " ", "\x00", "\u0661"} - {before}:
            assert holds(text[:place] + character + text[place + 1 :]) == (False, False)


@pytest.mark.parametrize("text", TOKENS)
def test_a_shorter_or_longer_token_holds_for_nothing(text: str) -> None:
    for length in range(len(text)):
        assert holds(text[:length]) == (False, False)
    for more in ("=", "A", ".", "\n", " ", "\x00"):
        assert holds(text + more) == (False, False)
        assert holds(more + text) == (False, False)


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_no_text_is_more_than_no_token(text: str) -> None:
    assert holds(text) == (False, False)
    assert holds(f"{SESSION_ID}.{text}.{TOKENS[0].rpartition('.')[2]}") in {
        (False, False),
        (text.lstrip("0") == "12", False),
    }


@pytest.mark.parametrize(
    "generation", ["", "-1", "+1", "1.0", "1e3", "0x1", "\u0661", "1_0", " 1", "9" * 10, "9" * 5_000]
)
def test_a_generation_that_is_no_small_number_is_no_token(generation: str) -> None:
    assert SessionToken.parse(f"{SESSION_ID}.{generation}.{'A' * 43}") is None


def test_what_is_stored_is_no_token() -> None:
    """Whoever reads every row of a session still has nothing to present."""
    stored = urlsafe_b64encode(SESSION_SECRET).rstrip(b"=").decode()
    assert holds(f"{SESSION_ID}.0.{stored}") == (False, False)
    for text in TOKENS:
        assert stored not in text
        assert SESSION_SECRET.hex() not in text


def test_ids_and_secrets_are_random_and_fit_the_format() -> None:
    ids, made = {new_session_id() for _ in range(200)}, {new_session_secret() for _ in range(200)}
    assert len(ids) == len(made) == 200
    assert {len(secret) for secret in made} == {32}
    for session_id in ids:
        assert SessionToken.parse(f"{session_id}.0.{'A' * 43}") is not None


# Rotation, on a database


class Sessions:
    """An account's sessions, and a clock that the test moves."""

    def __init__(self, database: Database | MemoryDatabase[MemoryUser], **options: int) -> None:
        self.database: Any = database
        self.now = NOW
        kept: dict[str, Any] = {"models": AUTH_MODELS} if isinstance(database, Database) else {"store": MemoryStore}
        key = KeySet(Key.from_secret(SECRET))
        self.auth: Auth[Any, Any] = Auth(
            **kept,
            tokens=AccessTokens(key, issuer="https://a.example", audience="https://a.example", clock=lambda: self.now),
            secret=SECRET,
            hasher=PasswordHasher(memory_kib=64, iterations=1),
            policy=PasswordPolicy(),
            require_verified_email=False,
            clock=lambda: self.now,
            **{"idle_seconds": 1_000, "lifetime_seconds": 3_000, "grace_seconds": 10, **options},
        )

    async def sign_up(self) -> None:
        async with self.database.session() as session:
            await self.auth.create_user(session, email="ann@example.com", password=PASSWORD, role="user")

    async def log_in(self) -> TokenPair:
        async with self.database.session() as session:
            found = await self.auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
            return self.auth.tokens_of(found.session)

    async def refresh(self, token: str) -> TokenPair:
        async with self.database.session() as session:
            return await self.auth.refresh(session, token)

    async def is_alive(self, pair: TokenPair) -> bool:
        async with self.database.session() as session:
            try:
                await self.auth.authenticate(session, self.auth.tokens.verify(pair.access_token))
            except InvalidToken:
                return False
            return True


@asynccontextmanager
async def opened(url: str | None, **options: int) -> AsyncIterator[Sessions]:
    async with AsyncExitStack() as stack:
        database: Database | MemoryDatabase[MemoryUser] = MemoryDatabase()
        if url is not None:
            database = await stack.enter_async_context(open_database(url))
            await database.create_tables(Base.metadata)
        sessions = Sessions(database, **options)
        await sessions.sign_up()
        yield sessions


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    if request.param == "postgresql":
        postgres: str = request.getfixturevalue("postgres_url")
        return postgres
    return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}" if request.param == "sqlite" else None


@pytest.fixture
async def sessions(url: str | None) -> AsyncIterator[Sessions]:
    async with opened(url) as ready:
        yield ready


@pytest.fixture
async def strict(url: str | None) -> AsyncIterator[Sessions]:
    """Without a grace."""
    async with opened(url, grace_seconds=0) as ready:
        yield ready


async def test_each_refresh_gives_the_next_token(sessions: Sessions) -> None:
    pair = await sessions.log_in()
    seen = {pair.refresh_token}
    for _ in range(5):
        pair = await sessions.refresh(pair.refresh_token)
        seen.add(pair.refresh_token)
        assert await sessions.is_alive(pair)
    assert len(seen) == 6


async def test_within_the_grace_the_parent_gives_the_same_successor(sessions: Sessions) -> None:
    """A lost answer, or two tabs."""
    first = await sessions.log_in()
    second = await sessions.refresh(first.refresh_token)
    sessions.now += 9.999
    again = await sessions.refresh(first.refresh_token)
    assert again.refresh_token == second.refresh_token
    third = await sessions.refresh(again.refresh_token)
    assert await sessions.is_alive(third)


async def test_after_the_grace_the_parent_ends_the_session_for_good(sessions: Sessions) -> None:
    """Committed, although the answer is an error."""
    first = await sessions.log_in()
    second = await sessions.refresh(first.refresh_token)
    assert await sessions.is_alive(second)
    sessions.now += 10
    with logged() as records, pytest.raises(TokenReused):
        await sessions.refresh(first.refresh_token)
    assert [line["user_id"] for line in records.fields("refresh_reused")] == [1]
    assert not await sessions.is_alive(second)
    for token in (first, second):
        with pytest.raises(InvalidToken):
            await sessions.refresh(token.refresh_token)


async def test_a_grandparent_ends_the_session_within_the_grace_too(sessions: Sessions) -> None:
    first = await sessions.log_in()
    second = await sessions.refresh(first.refresh_token)
    third = await sessions.refresh(second.refresh_token)
    with pytest.raises(TokenReused):
        await sessions.refresh(first.refresh_token)
    assert not await sessions.is_alive(third)


async def test_reuse_ends_no_other_session(sessions: Sessions) -> None:
    stolen, other = await sessions.log_in(), await sessions.log_in()
    await sessions.refresh(stolen.refresh_token)
    sessions.now += 60
    with pytest.raises(TokenReused):
        await sessions.refresh(stolen.refresh_token)
    assert await sessions.is_alive(await sessions.refresh(other.refresh_token))


async def test_without_a_grace_a_token_is_good_once(strict: Sessions) -> None:
    first = await strict.log_in()
    await strict.refresh(first.refresh_token)
    with pytest.raises(TokenReused):
        await strict.refresh(first.refresh_token)


async def test_twenty_refreshes_at_once_have_one_successor(sessions: Sessions) -> None:
    first = await sessions.log_in()
    pairs = await asyncio.gather(*(sessions.refresh(first.refresh_token) for _ in range(20)))
    assert len({pair.refresh_token for pair in pairs}) == 1
    assert await sessions.is_alive(await sessions.refresh(pairs[0].refresh_token))


async def test_without_a_grace_a_token_is_good_once_by_any_clock(strict: Sessions) -> None:
    first = await strict.log_in()
    second = await strict.refresh(first.refresh_token)
    # As one of two requests at once does, that read the time before it waited for the other.
    strict.now -= 1
    with pytest.raises(TokenReused):
        await strict.refresh(first.refresh_token)
    assert not await strict.is_alive(second)


async def test_without_a_grace_twenty_refreshes_at_once_leave_at_most_one_pair_and_no_session(strict: Sessions) -> None:
    first = await strict.log_in()
    results = await asyncio.gather(*(strict.refresh(first.refresh_token) for _ in range(20)), return_exceptions=True)
    pairs = [result for result in results if isinstance(result, TokenPair)]
    assert len(pairs) == 1
    assert all(isinstance(result, TokenPair | TokenReused | InvalidToken) for result in results)
    assert not await strict.is_alive(pairs[0])


async def test_a_session_ends_when_it_is_idle(sessions: Sessions) -> None:
    pair = await sessions.log_in()
    sessions.now += 999
    pair = await sessions.refresh(pair.refresh_token)
    sessions.now += 999
    pair = await sessions.refresh(pair.refresh_token)
    sessions.now += 1_000
    with pytest.raises(InvalidToken):
        await sessions.refresh(pair.refresh_token)


async def test_a_session_ends_at_its_age_however_busy_it_is(sessions: Sessions) -> None:
    pair = await sessions.log_in()
    for _ in range(5):
        sessions.now += 599
        pair = await sessions.refresh(pair.refresh_token)
    sessions.now = NOW + 2_999
    pair = await sessions.refresh(pair.refresh_token)
    assert await sessions.is_alive(pair)
    sessions.now = NOW + 3_000
    assert not await sessions.is_alive(pair)
    with pytest.raises(InvalidToken):
        await sessions.refresh(pair.refresh_token)


async def test_a_short_life_holds_whatever_the_idle_time_is() -> None:
    async with opened(None, lifetime_seconds=100) as sessions:
        pair = await sessions.log_in()
        sessions.now += 99
        pair = await sessions.refresh(pair.refresh_token)
        sessions.now += 1
        assert not await sessions.is_alive(pair)


async def test_a_cookie_that_is_used_does_not_grow_idle_and_ends_at_its_age(sessions: Sessions) -> None:
    async with sessions.database.session() as session:
        found = await sessions.auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
        cookie = sessions.auth.cookie_of(found.session)

    async def is_alive() -> bool:
        async with sessions.database.session() as session:
            try:
                await sessions.auth.authenticate_cookie(session, cookie)
            except InvalidToken:
                return False
            return True

    for _ in range(4):
        sessions.now += 700
        assert await is_alive()
    # At 2,800 seconds it was seen; at 3,000 it is too old.
    sessions.now += 199
    assert await is_alive()
    sessions.now += 1
    assert not await is_alive()


async def test_a_cookie_that_is_not_used_grows_idle(sessions: Sessions) -> None:
    async with sessions.database.session() as session:
        found = await sessions.auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
        cookie = sessions.auth.cookie_of(found.session)
    sessions.now += 1_000
    async with sessions.database.session() as session:
        with pytest.raises(InvalidToken):
            await sessions.auth.authenticate_cookie(session, cookie)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"secret": b"x" * 31}, "at least 32 bytes"),
        (
            {"secret": b"x" * 31, "tokens": AccessTokens(KeySet(Key.from_secret(SECRET)), issuer="a", audience="a")},
            "32",
        ),
        ({"idle_seconds": 0}, "at least one second"),
        ({"lifetime_seconds": 0}, "at least one second"),
        ({"reset_seconds": 0}, "at least one second"),
        ({"verification_seconds": -1}, "at least one second"),
        ({"grace_seconds": -1}, "not negative"),
        *(({name: 10**10}, "36500 days") for name in ("idle_seconds", "lifetime_seconds", "grace_seconds")),
        *(({name: 10**18}, "36500 days") for name in ("reset_seconds", "verification_seconds")),
        ({"store": None}, "either models or a store"),
        ({"models": AUTH_MODELS}, "either models or a store"),
        ({"require_verified_email": True}, "require_verified_email=False"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_it_is_written(options: dict[str, Any], reason: str) -> None:
    given: dict[str, Any] = {"store": MemoryStore, "secret": SECRET, "require_verified_email": False}
    with pytest.raises(ValueError, match=reason):
        Auth(**{**given, **options})


async def test_a_token_of_the_future_changes_nothing(sessions: Sessions) -> None:
    """Its mac can be made by the service alone; one that is guessed is refused and ends no session."""
    pair = await sessions.log_in()
    session_id, _, mac = pair.refresh_token.split(".")
    for forged in (f"{session_id}.1.{mac}", f"{session_id}.0.{'A' * 43}", f"{'A' * 22}.0.{mac}", "", "\ud800"):
        with pytest.raises(InvalidToken) as refused:
            await sessions.refresh(forged)
        assert not isinstance(refused.value, TokenReused)
    assert await sessions.is_alive(await sessions.refresh(pair.refresh_token))


async def test_a_logout_ends_both_tokens(sessions: Sessions) -> None:
    pair = await sessions.log_in()
    async with sessions.database.session() as session:
        session_id = await sessions.auth.session_of_refresh_token(session, pair.refresh_token)
        assert session_id is not None
        await sessions.auth.log_out(session, session_id)
    assert not await sessions.is_alive(pair)
    with pytest.raises(InvalidToken):
        await sessions.refresh(pair.refresh_token)


async def test_a_disabled_user_refreshes_nothing(sessions: Sessions) -> None:
    pair = await sessions.log_in()
    async with sessions.database.session() as session:
        user: Any = await sessions.auth.store(session).user_by_id(1)
        user.is_active = False
    assert not await sessions.is_alive(pair)
    with pytest.raises(InvalidToken):
        await sessions.refresh(pair.refresh_token)


async def test_a_cookie_does_not_refresh_and_a_refresh_token_is_no_cookie(sessions: Sessions) -> None:
    async with sessions.database.session() as session:
        found = await sessions.auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
        cookie = sessions.auth.cookie_of(found.session)
        refresh_token = sessions.auth.tokens_of(found.session).refresh_token
    with pytest.raises(InvalidToken):
        await sessions.refresh(cookie)
    async with sessions.database.session() as session:
        assert (await sessions.auth.authenticate_cookie(session, cookie)).user.id == 1
        with pytest.raises(InvalidToken):
            await sessions.auth.authenticate_cookie(session, refresh_token)
