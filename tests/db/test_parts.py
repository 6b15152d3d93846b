"""The database: one session for each request, committed before the answer; locks, types, engines, migrations."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from math import nan
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import ForeignKey, Numeric, String, event, func, select, text, update
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hardpoint.db import (
    CursorSigner,
    Database,
    LazySession,
    Page,
    PageParams,
    PageRequest,
    Session,
    UTCDateTime,
    create_engine,
    open_database,
    transaction_lock,
)
from hardpoint.errors import Conflict, NotFound, ServiceUnavailable, install_error_handlers
from hardpoint.middleware import ErrorsMiddleware
from hardpoint.service import migrations, open_engine
from hardpoint.settings import Settings
from support.asgi import client_of
from support.servers import free_port


class Base(DeclarativeBase): ...


class Row(Base):
    __tablename__ = "rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    rank: Mapped[int] = mapped_column(default=0)
    made_at: Mapped[datetime | None] = mapped_column(UTCDateTime())


class Child(Base):
    __tablename__ = "children"
    id: Mapped[int] = mapped_column(primary_key=True)
    row_id: Mapped[int] = mapped_column(
        ForeignKey("rows.id", deferrable=True, initially="DEFERRED"),
    )


class Versioned(Base):
    __tablename__ = "versioned"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    name: Mapped[str]
    __mapper_args__: ClassVar = {"version_id_col": version}


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Kinds(Base):
    __tablename__ = "kinds"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    share: Mapped[float]
    day: Mapped[date]
    at: Mapped[time]
    takes: Mapped[timedelta]
    made_at: Mapped[datetime] = mapped_column(UTCDateTime())
    size: Mapped[Size]
    is_open: Mapped[bool]
    code: Mapped[UUID]
    raw: Mapped[bytes]


class KindsOut(BaseModel):
    id: int


class RowOut(BaseModel):
    id: int
    name: str
    rank: int


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        await database.create_tables(Base.metadata)
        yield database


@asynccontextmanager
async def served(app: FastAPI, database: Database) -> AsyncIterator[Any]:
    app.add_middleware(ErrorsMiddleware)
    install_error_handlers(app)

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {"database": database, "cursor_signer": CursorSigner(b"sixteen bytes or more")}
        await app(scope, receive, send)

    async with client_of(with_state) as client:
        yield client


@asynccontextmanager
async def counted(database: Database) -> AsyncIterator[list[str]]:
    """What the engine is asked to do meanwhile."""
    done: list[str] = []

    def note(what: str) -> Any:
        return lambda *_: done.append(what)

    listened = [(name, note(name)) for name in ("checkout", "commit", "rollback")]
    for name, listener in listened:
        target = database.engine.sync_engine if name != "checkout" else database.engine.sync_engine.pool
        event.listen(target, name, listener)
    try:
        yield done
    finally:
        for name, listener in listened:
            target = database.engine.sync_engine if name != "checkout" else database.engine.sync_engine.pool
            event.remove(target, name, listener)


async def names(database: Database) -> list[str]:
    async with database.session() as session:
        return list((await session.scalars(select(Row.name).order_by(Row.name))).all())


# Sessions


async def test_a_request_has_one_session_for_its_route_and_all_its_dependencies(database: Database) -> None:
    app = FastAPI()
    seen: list[AsyncSession] = []

    async def first(session: Session) -> AsyncSession:
        return session

    async def second(session: Session, one: Annotated[AsyncSession, Depends(first)]) -> None:
        seen.extend([session, one])

    @app.post("/", dependencies=[Depends(second)])
    async def root(session: Session) -> None:
        seen.append(session)

    async with served(app, database) as client:
        await client.post("/")
        await client.post("/")
    assert seen[0] is seen[1] is seen[2]
    assert seen[3] is not seen[0]


async def test_a_session_that_nobody_uses_is_not_even_made(database: Database) -> None:
    app = FastAPI()
    sessions: list[Any] = []

    @app.get("/")
    async def root(session: Session) -> None:
        sessions.append(session)

    async with served(app, database) as client, counted(database) as done:
        assert (await client.get("/")).status_code == 200
        assert (done, sessions[0].is_used) == ([], False)
        # It is one like any other all the same.
        assert isinstance(sessions[0], AsyncSession)
        assert not sessions[0].in_transaction()
        assert sessions[0].is_used


async def test_a_row_that_is_taken_in_belongs_to_the_session_once_it_is_used_or_the_row_is_changed(
    database: Database,
) -> None:
    async with database.session() as session:
        session.add(Row(name="a", rank=1))
    async with database.session() as session:
        row = (await session.scalars(select(Row))).one()
        session.expunge(row)
    async with counted(database) as done:
        async with database.session() as session:
            assert isinstance(session, LazySession)
            assert session.take_in(row) is row
            assert session.take_in(row) is row
        assert done == []
    async with database.session() as session:
        session.take_in(row)
        assert await session.get(Row, row.id) is row
        session.expunge(row)
    async with database.session() as session:
        session.take_in(row)
        row.name = "changed"
    assert await names(database) == ["changed"]
    async with database.session() as session:
        other = (await session.scalars(select(Row))).one()
        assert session.take_in(row) is other


async def test_an_attribute_that_no_session_has_is_an_error(database: Database) -> None:
    async with database.session() as session:
        with pytest.raises(AttributeError, match="surely_not"):
            _ = session.surely_not  # type: ignore[attr-defined]


async def test_what_a_request_writes_is_committed_before_it_says_so(database: Database) -> None:
    app = FastAPI()
    found: list[list[str]] = []

    async def looks_at_the_response(scope: Any, receive: Any, send: Any) -> None:
        async def look(message: Any) -> None:
            if message["type"] == "http.response.start":
                found.append(await names(database))
            await send(message)

        await app(scope, receive, look)

    @app.post("/{name}", status_code=201)
    async def add(name: str, session: Session) -> None:
        session.add(Row(name=name))

    app.add_middleware(ErrorsMiddleware)
    install_error_handlers(app)

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {"database": database}
        await looks_at_the_response(scope, receive, send)

    async with client_of(with_state) as client:
        assert (await client.post("/ann")).status_code == 201
    assert found == [["ann"]]


@pytest.mark.parametrize("error", [NotFound(), ZeroDivisionError()])
async def test_an_exception_rolls_back_whatever_its_status(database: Database, error: Exception) -> None:
    app = FastAPI()

    @app.post("/")
    async def root(session: Session) -> None:
        session.add(Row(name="ann"))
        await session.flush()
        raise error

    async with served(app, database) as client:
        assert (await client.post("/")).status_code in {404, 500}
    assert await names(database) == []


@pytest.mark.parametrize("reads_first", [False, True])
async def test_what_a_savepoint_released_is_rolled_back_with_the_rest(database: Database, reads_first: bool) -> None:
    async def add(session: AsyncSession, name: str) -> None:
        if reads_first:
            await session.execute(select(Row))
        async with session.begin_nested():
            session.add(Row(name=name))
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                session.add(Row(name="never"))
                await session.flush()
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with database.session() as session:
            await add(session, "ann")
            raise ZeroDivisionError
    assert await names(database) == []
    async with database.session() as session:
        await add(session, "bob")
        await transaction_lock(session, "any")
    assert await names(database) == ["bob"]


async def test_what_a_savepoint_has_read_may_be_written_after(database: Database) -> None:
    """As "get or create" does, while another transaction writes."""

    async def write() -> None:
        async with database.session() as session:
            session.add(Row(name="other"))

    async with asyncio.TaskGroup() as group, database.session() as session, session.begin_nested():
        assert (await session.scalars(select(Row).where(Row.name == "ann"))).all() == []
        # It may have to wait until this one has written.
        await asyncio.wait([group.create_task(write())], timeout=0.3)
        session.add(Row(name="ann"))
    assert sorted(await names(database)) == ["ann", "other"]


async def test_a_commit_that_fails_is_an_error_and_no_success(database: Database) -> None:
    app = FastAPI()

    @app.post("/")
    async def root(session: Session) -> None:
        # The constraint is looked at when the transaction ends.
        session.add(Child(row_id=12345))
        await session.flush()

    async with served(app, database) as client:
        answer = await client.post("/")
    assert answer.status_code == 409
    assert answer.json()["code"] == "CONFLICT"


async def test_a_violated_constraint_is_a_conflict_without_any_value_in_it(database: Database) -> None:
    app = FastAPI()

    @app.post("/{name}")
    async def add(name: str, session: Session) -> None:
        session.add(Row(name=name))

    async with served(app, database) as client:
        assert (await client.post("/canary")).status_code == 200
        answer = await client.post("/canary")
    assert answer.status_code == 409
    assert "canary" not in answer.text
    with pytest.raises(Conflict):
        async with database.session() as session:
            session.add(Row(name="canary"))


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_row_that_somebody_else_was_faster_with_is_a_conflict(database: Database, is_deleted: bool) -> None:
    async with database.session() as session:
        session.add(Versioned(id=1, name="ann"))
    with pytest.raises(Conflict):
        async with database.session() as slow:
            seen = await slow.get_one(Versioned, 1)
            # SQLite gives a transaction that has read no way to write after another one.
            await slow.commit()
            async with database.session() as fast:
                row = await fast.get_one(Versioned, 1)
                if is_deleted:
                    await fast.delete(row)
                else:
                    row.name = "bob"
            seen.name = "cid"
    async with database.session() as session:
        assert (await session.scalars(select(Versioned.name))).all() == ([] if is_deleted else ["bob"])


@pytest.mark.parametrize(
    "url", ["postgresql+asyncpg://nobody@127.0.0.1:{port}/none", "sqlite+aiosqlite:////no/such/dir/x"]
)
async def test_a_database_that_is_away_is_a_503(url: str) -> None:
    before = set(threading.enumerate())
    async with open_database(url.format(port=free_port())) as database:
        with pytest.raises(ServiceUnavailable):
            await database.ping()
        with pytest.raises(ServiceUnavailable):
            async with database.session() as session:
                await session.execute(text("SELECT 1"))
    async with asyncio.timeout(30):
        # The driver of SQLite tries in threads, which end a little later and speak to this loop when they do.
        while not set(threading.enumerate()) <= before:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("error", [FileNotFoundError, TimeoutError])
async def test_an_error_of_the_system_that_is_not_of_the_database_stays_what_it_is(
    database: Database, error: type[OSError]
) -> None:
    app = FastAPI()

    @app.get("/")
    async def root(session: Session) -> None:
        await session.execute(text("SELECT 1"))
        raise error

    async with served(app, database) as client:
        assert (await client.get("/")).status_code == 500
    with pytest.raises(error):
        async with database.session() as session:
            await session.execute(text("SELECT 1"))
            raise error


async def test_a_wait_for_the_database_that_a_time_limit_ends_is_a_503(postgres_url: str) -> None:
    async with open_database(postgres_url) as database:
        with pytest.raises(ServiceUnavailable):
            async with database.session() as session, asyncio.timeout(0.05):
                await session.execute(text("SELECT pg_sleep(60)"))


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_deadlock_is_a_503(postgres_url: str, driver: str) -> None:
    async with open_database(postgres_url.replace("+asyncpg", f"+{driver}")) as database:
        await database.create_tables(Base.metadata)
        async with database.session() as session:
            session.add_all([Row(id=1, name="ann"), Row(id=2, name="bob")])
        both = asyncio.Barrier(2)

        async def change(first: int, second: int) -> None:
            async with database.session() as session:
                await session.execute(update(Row).where(Row.id == first).values(rank=Row.rank + 1))
                await both.wait()
                await session.execute(update(Row).where(Row.id == second).values(rank=Row.rank + 1))

        ended = await asyncio.gather(change(1, 2), change(2, 1), return_exceptions=True)
    assert {type(one) for one in ended} == {type(None), ServiceUnavailable}


async def test_a_missing_table_is_no_outage() -> None:
    async with open_database("sqlite+aiosqlite://") as database:
        with pytest.raises(DBAPIError, match="no such table: rows"):
            async with database.session() as session:
                await session.scalar(select(Row))


async def test_an_exhausted_pool_is_a_503(postgres_url: str) -> None:
    engine = create_engine(postgres_url, pool_size=1, max_overflow=0, pool_timeout_seconds=0.05)
    database = Database(engine)
    try:
        async with database.session() as holder:
            await holder.execute(text("SELECT 1"))
            with pytest.raises(ServiceUnavailable):
                await database.ping()
        await database.ping()
    finally:
        await engine.dispose()


async def test_a_restarted_server_costs_no_request(postgres_url: str) -> None:
    async with open_database(postgres_url) as database:
        async with database.session() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
        async with open_database(postgres_url) as other, other.session() as session:
            await session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        await asyncio.sleep(0.1)
        await database.ping()


# Locks and types


async def test_a_lock_lets_one_at_a_time_read_decide_and_write(database: Database) -> None:
    async def add_up_to_three(number: int) -> None:
        async with database.session() as session:
            await transaction_lock(session, "three rows")
            if (await session.scalar(select(func.count()).select_from(Row)) or 0) < 3:
                await asyncio.sleep(0.01)
                session.add(Row(name=str(number)))

    await asyncio.gather(*[add_up_to_three(number) for number in range(10)])
    assert len(await names(database)) == 3


async def test_locks_of_other_names_do_not_wait_for_each_other_on_postgresql(postgres_url: str) -> None:
    async with open_database(postgres_url) as database, database.session() as one, database.session() as two:
        await transaction_lock(one, "one")
        await transaction_lock(two, "two")
        # The server is shared with tests of other databases, which hold locks of their own.
        held = text(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        )
        assert await two.scalar(held) == 2


async def test_times_come_back_in_utc_and_naive_ones_are_refused(database: Database) -> None:
    moment = datetime(2026, 11, 24, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    async with database.session() as session:
        session.add(Row(name="aware", made_at=moment))
        session.add(Row(name="none"))
    async with database.session() as session:
        found = dict([tuple(row) for row in await session.execute(select(Row.name, Row.made_at))])
        assert found["aware"] == moment
        assert found["aware"] is not None
        assert found["aware"].tzinfo is UTC
        assert found["none"] is None
        before = select(Row.name).where(Row.made_at < moment + timedelta(microseconds=1))
        assert (await session.scalars(before)).all() == ["aware"]
    with pytest.raises(StatementError, match="naive"):
        async with database.session() as session:
            session.add(Row(name="naive", made_at=datetime(2026, 1, 1)))  # noqa: DTZ001 - what is refused.
            await session.flush()


# Engines


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "cannot be read"),
        ("postgresql+nodriver://h/d", "not installed"),
        ("sqlite:///x.db", "not an async one"),
        ("mysql+aiomysql://h/d", "not installed"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_reason(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        create_engine(url)


@pytest.mark.parametrize(
    "options",
    [
        {"pool_size": 0},
        {"max_overflow": -1},
        {"pool_timeout_seconds": -1},
        {"connect_timeout_seconds": 0},
        {"statement_timeout_seconds": 0.0001},
        {"statement_timeout_seconds": 0},
        {"statement_timeout_seconds": nan},
    ],
)
def test_numbers_that_would_be_no_limit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        create_engine("postgresql+asyncpg://localhost/shop", **options)


def test_what_is_something_else_is_refused_without_being_repeated() -> None:
    url: Any = "sqlite+aiosqlite://canary"
    with pytest.raises(TypeError, match=r"open_database\(url\) takes a URL") as refused:
        Database(url)
    assert "canary" not in str(refused.value)
    with pytest.raises(TypeError, match="takes bytes"):
        CursorSigner(url)


async def test_sqlite_is_set_up_for_a_service(tmp_path: Path) -> None:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}") as database, database.session() as session:
        pragmas = {
            name: await session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1, "busy_timeout": 5000}


# Pages


@pytest.mark.parametrize("seed", range(5))
async def test_pages_repeat_and_skip_nothing_while_rows_come_and_go(database: Database, seed: int) -> None:
    import random

    chance = random.Random(seed)
    async with database.session() as session:
        session.add_all(Row(name=f"row {number}", rank=chance.randrange(4)) for number in range(60))
    stayed = set(await names(database))
    order: Any = chance.choice(
        [
            (Row.id.desc(),),
            (Row.rank, Row.id),
            (Row.rank.desc(), Row.id),
            (Row.rank, Row.id.desc()),
            (Row.rank.desc(), Row.name.desc(), Row.id),
        ]
    )
    app = FastAPI()

    @app.get("/rows")
    async def rows(session: Session, page: PageParams) -> Page[RowOut]:
        return await page.of(RowOut, session, select(Row), order_by=order)

    seen: list[str] = []
    async with served(app, database) as client:
        cursor: str | None = None
        while True:
            parameters = {"limit": chance.randrange(1, 9), **({"cursor": cursor} if cursor else {})}
            answer = await client.get("/rows", params=parameters)
            page = answer.json()
            seen += [item["name"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            async with database.session() as session:
                gone = chance.choice(list((await session.scalars(select(Row))).all()))
                stayed.discard(gone.name)
                await session.delete(gone)
                session.add(Row(name=f"new {chance.random()}", rank=chance.randrange(4)))
        for bad in ("AAAA", "!", cursor or "x" * 3000, "é"):
            assert (await client.get("/rows", params={"cursor": bad})).status_code == 422
    assert len(seen) == len(set(seen))
    assert stayed <= set(seen)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("by", [column.key for column in Kinds.__table__.columns if column.key != "raw"])
async def test_columns_of_every_kind_order_a_page(database: Database, by: str, descending: bool) -> None:
    async with database.session() as session:
        session.add_all(
            Kinds(
                price=Decimal(number) / 4,
                share=number / 3,
                day=date(2026, 1, 1 + number),
                at=time(number, microsecond=number),
                takes=timedelta(minutes=number, microseconds=number),
                made_at=datetime(2026, 1, 1, microsecond=number, tzinfo=UTC),
                size=list(Size)[number % 2],
                is_open=bool(number % 2),
                code=UUID(int=number),
                raw=b"",
            )
            for number in (4, 1, 3, 0, 2)
        )
    attribute = getattr(Kinds, by)
    order = [attribute.desc() if descending else attribute, Kinds.id]
    signer = CursorSigner(b"sixteen bytes or more")
    found: list[int] = []
    cursor: str | None = None
    async with database.session() as session:
        while len(found) < 6 and (cursor is not None or not found):
            request = PageRequest(limit=1, cursor=cursor, signer=signer, scope="/")
            page = await request.of(KindsOut, session, select(Kinds), order_by=order)
            found += [item.id for item in page.items]
            cursor = page.next_cursor
        assert found == list(await session.scalars(select(Kinds.id).order_by(*order)))
        with pytest.raises(ValueError, match="cannot order a page"):
            await request.of(KindsOut, session, select(Kinds), order_by=[Kinds.raw, Kinds.id])


# Migrations


@asynccontextmanager
async def engine_of(url: str, folder: Path) -> AsyncIterator[Any]:
    async with open_engine(Settings(_env_file=None, database_url=url, data_dir=folder)) as engine:  # type: ignore[arg-type]
        yield engine


async def test_the_migrations_make_what_the_models_say_and_can_be_taken_back(database_url: str, tmp_path: Path) -> None:
    async with engine_of(database_url, tmp_path) as engine:
        found = migrations()
        assert await found.current(engine) is None
        assert not await found.is_current(engine)
        await found.upgrade(engine)
        assert await found.current(engine) == found.head()
        assert await found.is_current(engine)
        await found.downgrade(engine, "base")
        assert await found.current(engine) is None


async def test_two_that_upgrade_at_once_do_not_clash(database_url: str, tmp_path: Path) -> None:
    async with engine_of(database_url, tmp_path) as one, engine_of(database_url, tmp_path) as two:
        await asyncio.gather(migrations().upgrade(one), migrations().upgrade(two))
        assert await migrations().is_current(one)


async def test_two_databases_are_migrated_one_after_the_other(database_url: str, tmp_path: Path) -> None:
    urls = [database_url, f"sqlite+aiosqlite:///{tmp_path / 'other.db'}"]
    async with engine_of(urls[0], tmp_path) as one, engine_of(urls[1], tmp_path) as two:
        same = migrations()
        await asyncio.gather(same.upgrade(one), same.upgrade(two))
        assert await same.is_current(one)
        assert await same.is_current(two)


async def test_an_upgrade_that_cannot_begin_leaves_references_checked(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'locked.db'}"
    engine = create_engine(url, pool_size=1, max_overflow=0)
    async with open_database(url) as other, other.session() as session:
        await transaction_lock(session, "for longer than anybody waits")
        with pytest.raises(ServiceUnavailable):
            await migrations().upgrade(engine)
    async with engine.connect() as connection:
        assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar() == 1
    await engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_postgresql_ends_a_statement_that_takes_too_long(postgres_url: str, driver: str) -> None:
    url = postgres_url.replace("+asyncpg", f"+{driver}")
    async with open_database(url, statement_timeout_seconds=0.1) as database:
        async with database.engine.connect() as connection:
            with pytest.raises(DBAPIError, match="statement timeout"):
                await connection.execute(text("SELECT pg_sleep(60)"))
        with pytest.raises(ServiceUnavailable):
            async with database.session() as session:
                await session.execute(text("SELECT pg_sleep(60)"))


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_server_that_accepts_and_says_nothing_is_given_up(driver: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+{driver}://somebody@127.0.0.1:{silent.getsockname()[1]}/x"
        async with open_database(url, connect_timeout_seconds=2) as database:
            with pytest.raises(ServiceUnavailable):
                await database.ping()
