"""What every store has to do, in memory, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from hardpoint.auth import AuthStore, MemoryDatabase, MemoryStore, SQLAlchemyStore
from hardpoint.db import open_database
from hardpoint.service.base import Base
from hardpoint.service.users.models import AUTH_MODELS, ApiKey

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
LIVES: dict[str, Any] = {"lifetime": DAY, "idle": HOUR}


class Stores:
    """Transactions, each with a store."""

    def __init__(self, database: Any, store: Callable[[Any], AuthStore[Any]]) -> None:
        self._database = database
        self._store = store

    def __call__(self) -> "Transaction":
        return Transaction(self._database.session(), self._store)


class Transaction:
    """Committed when its block ends, rolled back when it raises."""

    def __init__(self, session: AbstractAsyncContextManager[Any], store: Callable[[Any], AuthStore[Any]]) -> None:
        self._session = session
        self._store = store

    async def __aenter__(self) -> AuthStore[Any]:
        return self._store(await self._session.__aenter__())

    async def __aexit__(self, *raised: object) -> bool | None:
        return await self._session.__aexit__(*raised)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Of a database, or `None` for memory."""
    if request.param == "postgresql":
        postgres: str = request.getfixturevalue("postgres_url")
        return postgres
    return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}" if request.param == "sqlite" else None


@pytest.fixture
async def stores(url: str | None) -> AsyncIterator[Stores]:
    if url is None:
        yield Stores(MemoryDatabase(), MemoryStore)
        return
    async with open_database(url) as database:
        await database.create_tables(Base.metadata)
        yield Stores(database, lambda session: SQLAlchemyStore(session, AUTH_MODELS))


async def add_user(stores: Stores, email: str = "ann@example.com", **columns: Any) -> Any:
    given = {"role": "user", "is_active": True, "email_verified": False, "password_hash": "x", **columns}
    async with stores() as store:
        user = await store.add_user(email=email, created_at=NOW, **given)
    assert user is not None
    return user


async def add_session(stores: Stores, user: Any, session_id: str = "one", **columns: Any) -> None:
    given = {
        "user_id": user.id,
        "secret": bytes(32),
        "generation": 0,
        "device": "d",
        "address": "a",
        "created_at": NOW,
        "rotated_at": NOW,
        "last_seen_at": NOW,
        **columns,
    }
    async with stores() as store:
        await store.add_session(id=session_id, **given)


async def is_there(stores: Stores, session_id: str = "one") -> bool:
    async with stores() as store:
        return await store.session_by_id(session_id) is not None


# Transactions


async def test_what_was_written_is_undone_when_the_block_raises(stores: Stores) -> None:
    user = await add_user(stores)
    await add_session(stores, user)
    with pytest.raises(ZeroDivisionError):
        async with stores() as store:
            await store.add_user(email="ben@example.com", created_at=NOW, role="user", is_active=True)
            found = await store.locked_user(user.id)
            await store.set_password(found, "y")
            await store.revoke_session("one", now=NOW)
            await store.rotate("one", generation=0, now=NOW)
            raise ZeroDivisionError
    async with stores() as store:
        assert await store.user_by_email("ben@example.com") is None
        assert (await store.user_by_id(user.id)).password_hash == "x"
        assert (await store.session_by_id("one")).session.generation == 0


async def test_what_is_committed_stays_whatever_happens_next(stores: Stores) -> None:
    user = await add_user(stores)
    with pytest.raises(ZeroDivisionError):
        async with stores() as store:
            await store.set_password(await store.locked_user(user.id), "kept")
            await store.commit()
            await store.set_email_verified(await store.locked_user(user.id))
            raise ZeroDivisionError
    async with stores() as store:
        found = await store.user_by_id(user.id)
        assert (found.password_hash, found.email_verified) == ("kept", False)


async def test_what_waits_for_the_commit_is_called_with_it_and_not_without(stores: Stores) -> None:
    user, called = await add_user(stores), []
    with pytest.raises(ZeroDivisionError):
        async with stores() as store:
            await store.set_password(await store.locked_user(user.id), "y")
            store.after_commit(lambda: called.append("rolled back"))
            raise ZeroDivisionError
    async with stores() as store:
        await store.set_password(await store.locked_user(user.id), "y")
        store.after_commit(lambda: called.append("committed"))
        assert called == []
    assert called == ["committed"]


async def test_a_locked_user_is_waited_for_and_then_read_as_they_are(stores: Stores) -> None:
    user = await add_user(stores)
    held, seen = asyncio.Event(), []

    async def first() -> None:
        async with stores() as store:
            found = await store.locked_user(user.id)
            held.set()
            await asyncio.sleep(0.1)
            await store.set_password(found, "of the first")

    async def second() -> None:
        async with stores() as store:
            # What was read before is old by then.
            await store.user_by_id(user.id)
            await store.commit()
            await held.wait()
            found = await store.locked_user(user.id)
            seen.append(found.password_hash)

    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        group.create_task(second())
    assert seen == ["of the first"]


async def test_a_copy_stays_as_it_was_and_can_be_read_in_another_transaction(stores: Stores) -> None:
    user = await add_user(stores)
    await add_session(stores, user)
    async with stores() as store:
        kept = store.detach(await store.session_by_id("one"))
    async with stores() as store:
        await store.set_email_verified(await store.locked_user(user.id))
    assert (kept.user.email_verified, kept.session.id) == (False, "one")
    async with stores() as store:
        found = store.attach(kept)
        assert (found.user.id, found.user.email, found.session.id) == (user.id, "ann@example.com", "one")
        # It is the user, who can be changed.
        await store.set_password(found.user, "changed")
    async with stores() as store:
        assert (await store.user_by_id(user.id)).password_hash == "changed"


# Users


async def test_an_address_has_one_user(stores: Stores) -> None:
    user = await add_user(stores, "Ann@Example.com")
    async with stores() as store:
        assert await store.add_user(email="ANN@example.com", created_at=NOW, role="user", is_active=True) is None
        found = await store.user_by_email("\uff41nn@example.com")
        assert (found.id, found.email) == (user.id, "Ann@Example.com")
        assert await store.user_by_email("ben@example.com") is None
        assert await store.user_by_email("a\x00b") is None
        assert await store.user_by_id(user.id + 1) is None
        assert await store.locked_user(user.id + 1) is None


async def test_of_many_who_add_one_address_at_once_one_does(stores: Stores) -> None:
    async def add() -> bool:
        async with stores() as store:
            given = {"role": "user", "is_active": True, "email_verified": False, "password_hash": None}
            return await store.add_user(email="ann@example.com", created_at=NOW, **given) is not None

    added = await asyncio.gather(*(add() for _ in range(8)))
    assert sorted(added) == [False] * 7 + [True]


# Sessions


async def test_a_step_is_taken_once(stores: Stores) -> None:
    await add_session(stores, await add_user(stores))

    async def rotate() -> bool:
        async with stores() as store:
            return await store.rotate("one", generation=0, now=NOW + MINUTE)

    assert sorted(await asyncio.gather(*(rotate() for _ in range(8)))) == [False] * 7 + [True]
    async with stores() as store:
        session = (await store.session_by_id("one")).session
        assert (session.generation, session.rotated_at, session.last_seen_at) == (1, NOW + MINUTE, NOW + MINUTE)
        assert session.created_at == NOW
        assert not await store.rotate("one", generation=5, now=NOW)
        assert not await store.rotate("none", generation=0, now=NOW)
        await store.revoke_session("one", now=NOW)
        assert not await store.rotate("one", generation=1, now=NOW)


async def test_a_session_is_seen(stores: Stores) -> None:
    await add_session(stores, await add_user(stores))
    async with stores() as store:
        await store.see_session("one", now=NOW + HOUR)
        await store.see_session("none", now=NOW)
    async with stores() as store:
        session = (await store.session_by_id("one")).session
        assert (session.last_seen_at, session.rotated_at) == (NOW + HOUR, NOW)


async def test_who_uses_a_session_or_key_waits_for_nobody_who_does(stores: Stores) -> None:
    user = await add_user(stores)
    await add_session(stores, user)
    async with stores() as store:
        key = await store.add_api_key(name="k", digest=bytes(32), scopes=[], created_at=NOW)
    async with asyncio.timeout(4), stores() as first, stores() as second:
        for store in (first, second):
            held = await store.session_by_id("one")
            await store.see_session("one", now=NOW + HOUR)
            await store.see_api_key(await store.api_key_by_id(key.id), now=NOW + HOUR)
            # A query writes what was changed before it.
            found = await store.living_sessions(user.id, now=NOW, lifetime=DAY, idle=HOUR, limit=1)
            assert found[0].last_seen_at == held.session.last_seen_at == NOW + HOUR
    async with stores() as store:
        assert (await store.session_by_id("one")).session.last_seen_at == NOW + HOUR
        assert (await store.api_key_by_id(key.id)).last_used_at == NOW + HOUR


async def test_a_long_request_does_not_take_back_when_a_session_was_used(database_url: str) -> None:
    async with open_database(database_url) as database:
        await database.create_tables(Base.metadata)
        stores = Stores(database, lambda session: SQLAlchemyStore(session, AUTH_MODELS))
        await add_session(stores, await add_user(stores))
        async with stores() as long:
            await long.see_session("one", now=NOW + MINUTE)
            async with stores() as short:
                await short.see_session("one", now=NOW + HOUR)
        async with stores() as store:
            assert (await store.session_by_id("one")).session.last_seen_at == NOW + HOUR


async def test_what_is_deleted_while_it_is_used_is_gone(database_url: str) -> None:
    async with open_database(database_url) as database:
        await database.create_tables(Base.metadata)
        stores = Stores(database, lambda session: SQLAlchemyStore(session, AUTH_MODELS))
        await add_session(stores, await add_user(stores))
        async with stores() as store:
            key = await store.add_api_key(name="k", digest=bytes(32), scopes=[], created_at=NOW)
        async with stores() as store:
            await store.session_by_id("one")
            await store.see_session("one", now=NOW + HOUR)
            await store.see_api_key(await store.api_key_by_id(key.id), now=NOW + HOUR)
            async with database.session() as other:
                await other.execute(delete(AUTH_MODELS.session))
                await other.execute(delete(ApiKey))
        assert not await is_there(stores, "one")
        async with stores() as store:
            assert await store.api_key_by_id(key.id) is None


async def test_sessions_are_ended_each_once_and_by_their_owner(stores: Stores) -> None:
    ann, ben = await add_user(stores), await add_user(stores, "ben@example.com")
    for session_id in ("one", "two", "three"):
        await add_session(stores, ann, session_id)
    await add_session(stores, ben, "bens")
    async with stores() as store:
        assert await store.revoke_session("one", now=NOW, user_id=ben.id) is None
        assert await store.revoke_session("one", now=NOW, user_id=ann.id) == ann.id
        assert await store.revoke_session("one", now=NOW) is None
        assert await store.revoke_session("none", now=NOW) is None
        assert await store.revoke_sessions(ann.id, now=NOW, but="three") == 1
    assert [await is_there(stores, each) for each in ("one", "two", "three", "bens")] == [False, False, True, True]
    async with stores() as store:
        assert await store.revoke_sessions(ann.id, now=NOW) == 1
        assert await store.revoke_sessions(ann.id, now=NOW) == 0
    assert await is_there(stores, "bens")


async def test_living_sessions_are_listed_newest_first_and_page_by_page(stores: Stores) -> None:
    ann, ben = await add_user(stores), await add_user(stores, "ben@example.com")
    for number in range(5):
        await add_session(stores, ann, f"s{number}", created_at=NOW + MINUTE * (number // 2))
    await add_session(stores, ann, "old", created_at=NOW - DAY)
    await add_session(stores, ann, "idle", last_seen_at=NOW - HOUR)
    await add_session(stores, ann, "ended", revoked_at=NOW)
    await add_session(stores, ben, "bens")
    found: list[str] = []
    after = None
    async with stores() as store:
        while page := await store.living_sessions(ann.id, now=NOW, limit=2, after=after, **LIVES):
            assert len(page) <= 2
            found += [session.id for session in page]
            after = (page[-1].created_at, page[-1].id)
    assert found == ["s4", "s3", "s2", "s1", "s0"]


async def test_the_roles_of_living_sessions(stores: Stores) -> None:
    ann = await add_user(stores, role="admin")
    gone = await add_user(stores, "ben@example.com", is_active=False)
    await add_session(stores, ann, "one")
    await add_session(stores, ann, "old", created_at=NOW - DAY)
    await add_session(stores, ann, "idle", last_seen_at=NOW - HOUR)
    await add_session(stores, ann, "ended", revoked_at=NOW)
    await add_session(stores, gone, "disabled")
    async with stores() as store:
        ids = ["one", "old", "idle", "ended", "disabled", "none"]
        assert await store.living_roles(ids, now=NOW, **LIVES) == {"one": "admin"}
        assert await store.living_roles([], now=NOW, **LIVES) == {}


# Tokens


async def add_token(stores: Stores, user: Any, digest: bytes = b"d" * 32, **columns: Any) -> None:
    given: dict[str, Any] = {"purpose": "reset_password", "session_id": None, "expires_at": NOW + HOUR, **columns}
    async with stores() as store:
        await store.add_token(digest=digest, user_id=user.id, **given)


async def test_a_token_is_taken_once_for_its_purpose_and_in_time(stores: Stores) -> None:
    user = await add_user(stores)
    await add_token(stores, user, session_id="s")
    digest = b"d" * 32
    async with stores() as store:
        for wrong in [
            {"digest": b"e" * 32, "purpose": "reset_password", "now": NOW},
            {"digest": digest, "purpose": "verify_email", "now": NOW},
            {"digest": digest, "purpose": "reset_password", "now": NOW + HOUR},
        ]:
            key = wrong.pop("digest")
            assert await store.token_owner(key, **wrong) is None
            assert await store.take_token(key, **wrong) is None
        assert await store.token_owner(digest, purpose="reset_password", now=NOW) == user.id

    async def take() -> Any:
        async with stores() as store:
            return await store.take_token(digest, purpose="reset_password", now=NOW)

    taken = [found for found in await asyncio.gather(*(take() for _ in range(6))) if found is not None]
    assert [(found.user_id, found.session_id) for found in taken] == [(user.id, "s")]


async def test_a_token_that_was_taken_in_vain_is_there_again(stores: Stores) -> None:
    user = await add_user(stores)
    await add_token(stores, user)
    with pytest.raises(ZeroDivisionError):
        async with stores() as store:
            assert await store.take_token(b"d" * 32, purpose="reset_password", now=NOW) is not None
            raise ZeroDivisionError
    async with stores() as store:
        assert await store.take_token(b"d" * 32, purpose="reset_password", now=NOW) is not None


async def test_tokens_are_dropped_by_user_and_purpose_and_when_they_expire(stores: Stores) -> None:
    ann, ben = await add_user(stores), await add_user(stores, "ben@example.com")
    await add_token(stores, ann, b"1" * 32)
    await add_token(stores, ann, b"2" * 32, purpose="verify_email")
    await add_token(stores, ben, b"3" * 32)
    await add_token(stores, ben, b"4" * 32, expires_at=NOW + DAY)
    await add_session(stores, ann, "young")
    await add_session(stores, ann, "old", created_at=NOW - DAY)
    async with stores() as store:
        counts = [
            await store.count_tokens(user.id, purpose="reset_password", now=NOW + HOUR / 2) for user in (ann, ben)
        ]
        assert counts == [1, 2]
        assert await store.count_tokens(ben.id, purpose="reset_password", now=NOW + HOUR) == 1
        assert await store.count_tokens(ben.id, purpose="verify_email", now=NOW) == 0
        await store.drop_tokens(ann.id, purpose="reset_password")

    async def owners() -> list[bool]:
        async with stores() as store:
            keys = [
                (b"1", "reset_password"),
                (b"2", "verify_email"),
                (b"3", "reset_password"),
                (b"4", "reset_password"),
            ]
            return [await store.token_owner(key * 32, purpose=purpose, now=NOW) is not None for key, purpose in keys]

    assert await owners() == [False, True, True, True]
    async with stores() as store:
        await store.drop_expired(now=NOW + HOUR, lifetime=DAY)
    assert await owners() == [False, False, False, True]
    assert [await is_there(stores, "young"), await is_there(stores, "old")] == [True, False]


# API keys


async def test_api_keys_are_kept_seen_listed_and_ended(stores: Stores) -> None:
    ids = []
    for number in range(3):
        async with stores() as store:
            key = await store.add_api_key(
                name=f"k{number}", digest=bytes(32), scopes=["a", "b"], created_at=NOW, expires_at=None
            )
            ids.append(key.id)
    assert all(key_id > 0 for key_id in ids)
    async with stores() as store:
        found = await store.api_key_by_id(ids[0])
        assert found is not None
        assert (found.name, found.scopes, found.last_used_at) == ("k0", ["a", "b"], None)
        await store.see_api_key(found, now=NOW + MINUTE)
        assert await store.api_key_by_id(ids[-1] + 1) is None
    async with stores() as store:
        assert (await store.api_key_by_id(ids[0])).last_used_at == NOW + MINUTE
        first = await store.living_api_keys(limit=2)
        rest = await store.living_api_keys(limit=2, before=first[-1].id)
        assert [key.name for key in [*first, *rest]] == ["k2", "k1", "k0"]
        assert await store.revoke_api_key(ids[1], now=NOW)
        assert not await store.revoke_api_key(ids[1], now=NOW)
        assert not await store.revoke_api_key(ids[-1] + 1, now=NOW)
    async with stores() as store:
        assert [key.name for key in await store.living_api_keys(limit=9)] == ["k2", "k0"]
        assert (await store.api_key_by_id(ids[1])).revoked_at == NOW
