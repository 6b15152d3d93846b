"""Light tasks: after the response, with what is theirs, and waited for at the end."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import nan
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import select

from hardpoint import context
from hardpoint.db import Database, Session, open_database
from hardpoint.errors import Conflict, install_error_handlers
from hardpoint.jobs import AfterResponse, LightTasks, after_response, open_light_tasks
from hardpoint.lifespan import Lifespan, Opened, Resource
from hardpoint.log import JsonFormatter, get_logger
from hardpoint.middleware import ErrorsMiddleware, RequestIdMiddleware, TimeLimitMiddleware
from support.asgi import client_of, logged
from support.jobs import Base, Done
from support.servers import running_app

After = Annotated[AfterResponse, Depends(after_response)]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as database:
        await database.create_tables(Base.metadata)
        yield database


@asynccontextmanager
async def served(app: FastAPI, database: Database, tasks: LightTasks) -> AsyncIterator[Any]:
    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {"database": database, "light_tasks": tasks}
        await app(scope, receive, send)

    async with client_of(with_state) as client:
        yield client


def make_app() -> FastAPI:
    app = FastAPI()
    app.add_middleware(ErrorsMiddleware)
    app.add_middleware(RequestIdMiddleware)
    install_error_handlers(app)
    return app


async def test_a_task_runs_after_the_response_with_a_session_of_its_own(database: Database) -> None:
    app = make_app()
    go_on = asyncio.Event()
    sessions: list[object] = []
    ids: list[str | None] = []

    async def note(number: int, session: Session) -> None:
        await go_on.wait()
        session.add(Done(number=number))
        sessions.append(session)
        ids.append(context.request_id.get())

    @app.post("/")
    async def root(after: After, session: Session) -> None:
        after.run(note, number=7)
        sessions.append(session)

    async with open_light_tasks({"database": database}) as tasks, served(app, database, tasks) as client:
        answer = await client.post("/", headers={"X-Request-ID": "the-request"})
        assert answer.status_code == 200
        assert tasks.waiting == 1
        go_on.set()
    assert ids == ["the-request"]
    assert sessions[0] is not sessions[1]
    async with database.session() as session:
        assert (await session.scalars(select(Done.number))).all() == [7]


@pytest.mark.parametrize("error", [Conflict("no"), ZeroDivisionError()])
async def test_a_request_that_fails_leaves_nothing_to_do(database: Database, error: Exception) -> None:
    app = make_app()
    ran: list[int] = []

    async def note() -> None:
        ran.append(1)

    @app.post("/")
    async def root(after: After) -> None:
        after.run(note)
        raise error

    async with open_light_tasks({}) as tasks, served(app, database, tasks) as client:
        assert (await client.post("/")).status_code in {409, 500}
    assert ran == []


async def test_a_task_that_fails_or_takes_too_long_is_logged_and_counted_and_harms_nobody() -> None:
    ran: list[int] = []

    async def fails() -> None:
        raise ZeroDivisionError

    async def fails_otherwise() -> None:
        # No `Exception`, which ends a group of tasks.
        raise BaseExceptionGroup("", [asyncio.CancelledError()])

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def works() -> None:
        await asyncio.sleep(0.01)
        ran.append(1)

    with logged() as records:
        async with open_light_tasks({}, timeout_seconds=0.05) as tasks:
            for function in (fails, fails_otherwise, hangs, works):
                tasks.start(function, {})
        assert tasks.failed == 3
        assert tasks.waiting == 0
    assert ran == [1]
    told = {fields["task"].rpartition(".")[2] for fields in records.fields("task_failed")}
    assert told == {"fails", "fails_otherwise", "hangs"}


async def test_a_task_knows_the_request_and_the_user_and_its_log_lines_do_too(database: Database) -> None:
    app = make_app()
    logger, lines = get_logger("test.light"), io.StringIO()

    async def authenticate() -> None:
        context.principal.set("user:7")

    async def note() -> None:
        logger.info("noted")

    @app.post("/", dependencies=[Depends(authenticate)])
    async def root(after: After) -> None:
        after.run(note)

    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonFormatter())
    logger.stdlib.addHandler(handler)
    logger.stdlib.setLevel(logging.INFO)
    try:
        async with open_light_tasks({}) as tasks, served(app, database, tasks) as client:
            await client.post("/", headers={"X-Request-ID": "the-request"})
    finally:
        logger.stdlib.removeHandler(handler)
    line = json.loads(lines.getvalue())
    assert (line["event"], line["request_id"], line["principal"]) == ("noted", "the-request", "user:7")


async def test_a_client_that_goes_away_does_not_take_the_task_with_it() -> None:
    app = FastAPI(lifespan=Lifespan(Resource("light_tasks", lambda opened: open_light_tasks(opened.state))))
    began, gone, ran = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def note() -> None:
        ran.set()

    @app.get("/")
    async def root(after: After) -> int:
        after.run(note)
        began.set()
        await gone.wait()
        return 1

    async with running_app(app, lifespan="on") as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await began.wait()
        writer.transport.abort()
        gone.set()
        await asyncio.wait_for(ran.wait(), 30)


async def test_a_request_whose_time_is_over_leaves_nothing_to_do(database: Database) -> None:
    app = make_app()
    ran: list[int] = []

    async def note() -> None:
        ran.append(1)

    @app.post("/")
    async def root(after: After) -> None:
        after.run(note)
        await asyncio.Event().wait()

    limited = FastAPI()
    limited.mount("/", TimeLimitMiddleware(app, seconds=0.05))
    async with open_light_tasks({}) as tasks, served(limited, database, tasks) as client:
        assert (await client.post("/")).status_code == 504
    assert ran == []


async def test_one_too_many_and_one_too_late_are_dropped_and_counted() -> None:
    go_on = asyncio.Event()
    ran: list[int] = []

    async def work() -> None:
        await go_on.wait()
        ran.append(1)

    with logged() as records:
        async with open_light_tasks({}, max_waiting=2) as tasks:
            for _ in range(3):
                tasks.start(work, {})
            assert (tasks.waiting, tasks.failed) == (2, 1)
            go_on.set()
        tasks.start(work, {})
    assert (ran, tasks.waiting, tasks.done, tasks.failed) == ([1, 1], 0, 2, 2)
    assert [fields["reason"] for fields in records.fields("task_dropped")] == ["too many wait", "the service ends"]


async def test_no_more_run_at_once_than_allowed() -> None:
    running = most = 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with open_light_tasks({}, max_running=3) as tasks:
        for _ in range(30):
            tasks.start(work, {})
    assert most == 3


async def test_what_does_not_end_in_time_is_cancelled_at_the_end() -> None:
    cancelled: list[bool] = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with logged() as records:
        async with open_light_tasks({}, drain_seconds=0.05) as tasks:
            tasks.start(hangs, {})
    assert cancelled == [True]
    assert (tasks.waiting, tasks.failed) == (0, 1)
    assert [fields["task"].rpartition(".")[2] for fields in records.fields("task_cancelled")] == ["hangs"]
    assert records.fields("tasks_cancelled")


@pytest.mark.parametrize(
    "options", [{"max_running": 0}, {"timeout_seconds": 0}, {"timeout_seconds": nan}, {"max_waiting": 0}]
)
async def test_numbers_with_which_no_task_would_run_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        async with open_light_tasks({}, **options):
            raise AssertionError("nothing is served")


async def test_what_is_open_is_not_the_state_and_is_refused() -> None:
    opened: Any = Opened({})
    with pytest.raises(TypeError, match="opened.state"):
        async with open_light_tasks(opened):
            raise AssertionError("nothing is served")


async def test_wrong_arguments_are_refused_in_the_request() -> None:
    async def note(number: int) -> None: ...

    with pytest.raises(TypeError, match="do not fit"):
        AfterResponse().run(note, number="seven")
