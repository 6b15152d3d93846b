"""The cache of who a token is of: no query while nothing changes, and nothing stale after it did."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, ForeignKey, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session, reconstructor, relationship

from hardpoint.auth import Auth, AuthModels, Client, PasswordHasher, PrincipalCache, SessionAndUser, UserMixin
from hardpoint.auth.cache import open_principal_cache
from hardpoint.broadcast import MemoryBroadcast
from hardpoint.broadcast.valkey import open_valkey_broadcast
from hardpoint.clock import utc_datetime, wall_clock
from hardpoint.db import Database, LazySession, open_database
from hardpoint.errors import InvalidToken
from hardpoint.testing import bearer
from support.servers import ValkeyServer

SECRET = b"a secret of thirty-two bytes or more"


class Base(DeclarativeBase): ...


class User(UserMixin, Base):
    __tablename__ = "users"
    tags: Mapped[list[str]] = mapped_column(JSON, default=list)
    biography: Mapped[str | None] = mapped_column(deferred=True)
    choices: Mapped[dict[str, int]] = mapped_column(MutableDict.as_mutable(JSON), default=dict)

    @reconstructor
    def began(self) -> None:
        self.is_loaded = True


MODELS = AuthModels.beside(User)


class Process:
    """What one process of a service has: an `Auth` with a cache, and the shared database."""

    def __init__(self, auth: Auth[User], database: Database, cache: PrincipalCache) -> None:
        self.auth, self.database, self.cache = auth, database, cache
        self.queries = 0
        event.listen(database.engine.sync_engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.queries += 1

    async def found(self, session: AsyncSession, token: str) -> SessionAndUser[User]:
        return await self.auth.authenticate(session, self.auth.tokens.verify(token))

    async def whose(self, token: str) -> User:
        async with self.database.session() as session:
            return (await self.found(session, token)).user


@pytest.fixture
async def processes(tmp_path: Path, valkey: ValkeyServer) -> AsyncIterator[list[Process]]:
    """Two of them, which hear each other over Valkey."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(2):
            database = await stack.enter_async_context(open_database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"))
            broadcast = await stack.enter_async_context(open_valkey_broadcast(valkey.url))
            cache = await stack.enter_async_context(open_principal_cache(broadcast))
            auth = Auth(models=MODELS, secret=SECRET, require_verified_email=False, cache=cache)
            found.append(Process(auth, database, cache))
            while not broadcast.connected:
                await asyncio.sleep(0.01)
        await found[0].database.create_tables(Base.metadata)
        # Both listen from here on.
        while len(valkey.command("PUBSUB", "CHANNELS")) < 2:
            await asyncio.sleep(0.01)
        yield found


async def signed_up(process: Process, email: str = "ann@example.com") -> tuple[User, str]:
    async with process.database.session() as session:
        user = await process.auth.create_user(
            session, email=email, password="correct horse battery staple", role="user"
        )
    header = await bearer(process.auth, process.database, user)
    return user, header["Authorization"].removeprefix("Bearer ")


async def test_an_authenticated_request_needs_no_query_while_nothing_changes(processes: list[Process]) -> None:
    process = processes[0]
    user, token = await signed_up(process)
    assert (await process.whose(token)).id == user.id
    before = process.queries
    for _ in range(10):
        assert (await process.whose(token)).email == "ann@example.com"
    assert process.queries == before


async def test_a_logout_holds_with_the_next_request_here_and_at_once_elsewhere(processes: list[Process]) -> None:
    here, there = processes
    _, token = await signed_up(here)
    await here.whose(token)
    await there.whose(token)
    async with here.database.session() as session:
        await here.auth.log_out(session, here.auth.tokens.verify(token).session_id)
    with pytest.raises(InvalidToken):
        await here.whose(token)
    async with asyncio.timeout(4):
        # Within less than an entry's life: by the message, not because it grew old.
        while len(there.cache):
            await asyncio.sleep(0.01)
    with pytest.raises(InvalidToken):
        await there.whose(token)


async def test_a_change_of_a_user_is_seen_and_a_rolled_back_one_is_not(processes: list[Process]) -> None:
    process = processes[0]
    user, token = await signed_up(process)
    await process.whose(token)
    with pytest.raises(ZeroDivisionError):
        async with process.database.session() as session:
            found = (await process.auth.authenticate(session, process.auth.tokens.verify(token))).user
            found.role = "admin"
            process.auth.user_changed(session, user.id)
            raise ZeroDivisionError
    assert (await process.whose(token)).role == "user"
    async with process.database.session() as session:
        found = (await process.auth.authenticate(session, process.auth.tokens.verify(token))).user
        found.role = "editor"
        process.auth.user_changed(session, user.id)
    assert (await process.whose(token)).role == "editor"


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_savepoint_is_no_commit(process: Process, is_kept: bool) -> None:
    user, token = await signed_up(process)
    async with process.database.session() as session:
        (await session.get_one(User, user.id)).role = "editor"
        process.auth.user_changed(session, user.id)
        with suppress(ZeroDivisionError):
            async with session.begin_nested():
                (await session.get_one(User, user.id)).name = "Ann"
                process.auth.user_changed(session, user.id)
                if not is_kept:
                    raise ZeroDivisionError
        # As another request does meanwhile, which does not see the change yet.
        assert (await process.whose(token)).role == "user"
        assert len(process.cache) == 1
    found = await process.whose(token)
    assert (found.role, found.name) == ("editor", "Ann" if is_kept else None)


async def test_a_login_that_hashes_the_password_anew_tells_of_it(process: Process) -> None:
    """As the first one after an upgrade does; a change of the password by an older session looks at the hash."""
    password = "correct horse battery staple"
    here = Client(address="127.0.0.1", device="")
    user, token = await signed_up(process)
    await process.whose(token)
    old = await PasswordHasher(memory_kib=64, iterations=1).hash(password)
    async with process.database.session() as session:
        await process.auth.store(session).set_password(await session.get_one(User, user.id), old)
    process.cache.clear()
    assert (await process.whose(token)).password_hash == old
    async with process.database.session() as session:
        await process.auth.log_in(session, email=user.email, password=password, client=here)
    async with process.database.session() as session:
        known = (await process.found(session, token)).user
        assert known.password_hash != old
        new = "another horse battery staple"
        await process.auth.change_password(session, known, current=password, new=new, keep_session=None, client=here)


async def test_a_change_of_one_user_leaves_the_others(processes: list[Process]) -> None:
    process = processes[0]
    _, ann = await signed_up(process)
    ben, bens = await signed_up(process, "ben@example.com")
    await process.whose(ann)
    await process.whose(bens)
    async with process.database.session() as session:
        await process.auth.end_sessions(session, ben.id)
    assert len(process.cache) == 1


async def test_what_was_read_before_a_change_is_not_kept_after_it(processes: list[Process]) -> None:
    process = processes[0]
    _, token = await signed_up(process)
    async with process.database.session() as session:
        mark = process.cache.mark()
        found = await process.auth.authenticate(session, process.auth.tokens.verify(token))
        process.cache.clear()
        process.cache.keep(process.auth.store(session), found, mark=mark, ends_at=utc_datetime(wall_clock() + 60))
        assert len(process.cache) == 0


async def test_an_entry_grows_old_and_the_cache_stays_small(tmp_path: Path) -> None:
    now = 100.0
    broadcast = MemoryBroadcast()
    cache = PrincipalCache(broadcast, ttl_seconds=5, max_entries=2, clock=lambda: now)
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as database:
        await database.create_tables(Base.metadata)
        auth = Auth(models=MODELS, secret=SECRET, require_verified_email=False, cache=cache)
        process = Process(auth, database, cache)
        user, token = await signed_up(process)
        await process.whose(token)
        before = process.queries
        now += 4.9
        await process.whose(token)
        assert process.queries == before
        now += 0.2
        await process.whose(token)
        assert process.queries > before
        for _ in range(3):
            header = await bearer(auth, database, user)
            await process.whose(header["Authorization"].removeprefix("Bearer "))
        assert len(cache) == 2


async def test_an_entry_is_as_old_as_what_was_read(tmp_path: Path) -> None:
    """A query that takes long gives what was true when it began."""
    now = 100.0
    cache = PrincipalCache(MemoryBroadcast(), ttl_seconds=5, clock=lambda: now)
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as database:
        await database.create_tables(Base.metadata)
        auth = Auth(models=MODELS, secret=SECRET, require_verified_email=False)
        _, token = await signed_up(Process(auth, database, cache))
        async with database.session() as session:
            store, mark = auth.store(session), cache.mark()
            found = await auth.authenticate(session, auth.tokens.verify(token))
            now += 4
            today = utc_datetime(wall_clock())
            cache.keep(store, found, mark=mark, ends_at=today + timedelta(minutes=1))
            assert cache.get(store, found.session.id, now=today) is not None
            now += 1
            assert cache.get(store, found.session.id, now=today) is None


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    """One alone, whose entries do not grow old."""
    cache = PrincipalCache(MemoryBroadcast(), ttl_seconds=1_000)
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as database:
        await database.create_tables(Base.metadata)
        yield Process(Auth(models=MODELS, secret=SECRET, require_verified_email=False, cache=cache), database, cache)


async def test_what_a_request_does_to_its_user_is_not_done_to_what_is_kept(process: Process) -> None:
    _, token = await signed_up(process)
    await process.whose(token)
    with pytest.raises(ZeroDivisionError):
        async with process.database.session() as session:
            found = await process.found(session, token)
            found.user.role = "admin"
            found.user.tags.append("changed in place")
            raise ZeroDivisionError
    again = await process.whose(token)
    assert (again.role, again.tags) == ("user", [])


async def test_what_the_request_that_read_it_does_is_not_done_to_what_is_kept(process: Process) -> None:
    _, token = await signed_up(process)
    with pytest.raises(ZeroDivisionError):
        async with process.database.session() as session:
            (await process.found(session, token)).user.tags.append("changed in place")
            raise ZeroDivisionError
    assert (len(process.cache), (await process.whose(token)).tags) == (1, [])


async def test_what_is_done_in_a_plain_session_is_not_done_to_what_is_kept(process: Process) -> None:
    _, token = await signed_up(process)
    await process.whose(token)
    async with async_sessionmaker(process.database.engine)() as session:
        (await process.found(session, token)).user.tags.append("changed in place")
    assert (await process.whose(token)).tags == []


async def test_a_deferred_column_is_loaded_when_it_is_asked_for(process: Process) -> None:
    user, token = await signed_up(process)
    async with process.database.session() as session:
        (await session.get_one(User, user.id)).biography = "Born."
    for _ in range(2):
        async with process.database.session() as session:
            found = (await process.found(session, token)).user
            assert (found.email, "biography" in found.__dict__) == ("ann@example.com", False)
            await session.refresh(found, ["biography"])
            assert found.biography == "Born."
    assert len(process.cache) == 1


@pytest.mark.parametrize("is_used_before", [False, True])
async def test_what_a_model_does_when_it_is_loaded_it_does_when_it_was_kept(
    process: Process, is_used_before: bool
) -> None:
    user, token = await signed_up(process)
    await process.whose(token)
    assert len(process.cache) == 1
    async with process.database.session() as session:
        if is_used_before:
            await session.connection()
        found = (await process.found(session, token)).user
        assert found.is_loaded
        # Noticed, as SQLAlchemy's mutable types notice it.
        found.choices["size"] = 7
    async with process.database.session() as session:
        assert (await session.get_one(User, user.id)).choices == {"size": 7}


@pytest.mark.parametrize("lazy", ["selectin", "joined"])
async def test_a_user_with_whom_others_are_loaded_is_read_with_each_request(tmp_path: Path, lazy: Any) -> None:
    class OtherBase(DeclarativeBase): ...

    class Team(OtherBase):
        __tablename__ = "teams"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    class Member(UserMixin, OtherBase):
        __tablename__ = "users"
        team_id: Mapped[int] = mapped_column(ForeignKey(Team.id))
        team: Mapped[Team] = relationship(lazy=lazy)

    cache = PrincipalCache(MemoryBroadcast(), ttl_seconds=1_000)
    auth = Auth(models=AuthModels.beside(Member), secret=SECRET, require_verified_email=False, cache=cache)
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as database:
        await database.create_tables(OtherBase.metadata)
        async with database.session() as session:
            session.add(Team(id=1, name="red"))
            await session.flush()
            member = await auth.create_user(
                session, email="ann@example.com", password="correct horse battery staple", role="user", team_id=1
            )
        header = await bearer(auth, database, member)
        claims = auth.tokens.verify(header["Authorization"].removeprefix("Bearer "))
        for name in ("red", "blue"):
            async with database.session() as session:
                # Nobody tells auth that a team was renamed.
                (await session.get_one(Team, 1)).name = name
            async with database.session() as session:
                assert (await auth.authenticate(session, claims)).user.team.name == name


async def test_what_is_kept_belongs_to_the_session_of_each_request(process: Process) -> None:
    _, token = await signed_up(process)
    await process.whose(token)
    before = process.queries
    async with process.database.session() as session:
        assert isinstance(session, LazySession)
        found = await process.found(session, token)
        assert (found.session.user_id, process.queries) == (found.user.id, before)
        assert not session.is_used
        # From here on it is, and has what it gave before.
        assert await session.get(User, found.user.id) is found.user
        assert object_session(found.session) is object_session(found.user) is session.sync_session
        assert (await process.found(session, token)).user is found.user
    assert process.queries == before
    async with process.database.session() as session:
        (await process.found(session, token)).user.name = "Ann"
    async with process.database.session() as session:
        stored = await session.get(User, found.user.id)
        assert stored is not None
        assert stored.name == "Ann"


async def test_a_sessions_row_is_made_for_whoever_asks_for_it(process: Process) -> None:
    _, token = await signed_up(process)
    await process.whose(token)
    async with process.database.session() as session:
        assert isinstance(session, LazySession)
        found = await process.found(session, token)
        # As long as nobody does there is the user alone.
        assert len({type(row) for row in session.sync_session}) == 1
        assert found.session is found.session
        assert {type(row) for row in session.sync_session} == {User, MODELS.session}


async def test_a_sessions_row_that_is_asked_for_late_is_the_one_that_was_changed_meanwhile(process: Process) -> None:
    _, token = await signed_up(process)
    session_id = process.auth.tokens.verify(token).session_id
    await process.whose(token)
    async with process.database.session() as session:
        found = await process.found(session, token)
        row = await session.get_one(MODELS.session, session_id)
        row.device = "another"
        assert found.session is row
        assert found.session.device == "another"
    async with process.database.session() as session:
        assert (await session.get_one(MODELS.session, session_id)).device == "another"


async def test_what_is_kept_of_one_user_is_nothing_for_another(process: Process) -> None:
    user, token = await signed_up(process)
    claims = process.auth.tokens.verify(token)
    await process.whose(token)
    async with process.database.session() as session:
        store, now = process.auth.store(session), process.auth.now()
        assert process.cache.get(store, claims.session_id, now=now, user_id=user.id) is not None
        assert process.cache.get(store, claims.session_id, now=now, user_id=user.id + 1) is None
        with pytest.raises(InvalidToken):
            await process.auth.authenticate(session, replace(claims, user_id=user.id + 1))


async def test_a_store_that_copies_in_a_way_of_its_own_attaches_by_a_merge(process: Process) -> None:
    _, token = await signed_up(process)
    async with process.database.session() as session:
        read = await process.found(session, token)
        session.expunge_all()
        attached = process.auth.store(session).attach(SessionAndUser(read.session, read.user))
        assert attached.user is not read.user
        assert (attached.user.id, attached.session.id) == (read.user.id, read.session.id)
        assert attached.user in session


@pytest.mark.parametrize("ends_by", ["idle_seconds", "lifetime_seconds"])
async def test_a_kept_session_ends_of_itself_to_the_second(tmp_path: Path, ends_by: str) -> None:
    now = 1_800_000_000.0
    cache = PrincipalCache(MemoryBroadcast(), ttl_seconds=1_000)
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as database:
        await database.create_tables(Base.metadata)
        options: dict[str, Any] = {"require_verified_email": False, "cache": cache, "clock": lambda: now}
        process = Process(Auth(models=MODELS, secret=SECRET, **options, **{ends_by: 60}), database, cache)
        _, token = await signed_up(process)
        await process.whose(token)
        before = process.queries
        now += 59.9
        await process.whose(token)
        assert process.queries == before
        now += 0.1
        with pytest.raises(InvalidToken):
            await process.whose(token)


async def test_a_process_that_cannot_hear_the_others_reads_everything(tmp_path: Path) -> None:
    server = ValkeyServer()
    try:
        await asyncio.to_thread(server.start)
        async with (
            open_database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as database,
            open_valkey_broadcast(server.url) as broadcast,
            open_principal_cache(broadcast) as cache,
        ):
            await database.create_tables(Base.metadata)
            while not broadcast.connected:
                await asyncio.sleep(0.01)
            process = Process(
                Auth(models=MODELS, secret=SECRET, require_verified_email=False, cache=cache), database, cache
            )
            _, token = await signed_up(process)
            await process.whose(token)
            await asyncio.to_thread(server.kill)
            while broadcast.connected:
                await asyncio.sleep(0.01)
            before = process.queries
            await process.whose(token)
            assert process.queries > before
            assert len(cache) == 0
    finally:
        server.kill()
