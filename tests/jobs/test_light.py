"""Light tasks: after the response, with what is theirs, and waited for at the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import select

from hardpoint import context
from hardpoint.db import Database, Session, open_database
from hardpoint.errors import Conflict, install_error_handlers
from hardpoint.jobs import AfterResponse, LightTasks, after_response, open_light_tasks
from hardpoint.middleware import ErrorsMiddleware, RequestIdMiddleware
from support.asgi import client_of, logged
from support.jobs import Base, Done

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
    go_on, seen = asyncio.Event(), []

    async def note(number: int, session: Session) -> None:
        await go_on.wait()
        session.add(Done(number=number))
        seen.append((context.request_id.get(), id(session)))

    @app.post("/")
    async def root(after: After, session: Session) -> int:
        after.run(note, number=7)
        return id(session)

    async with open_light_tasks({"database": database}) as tasks, served(app, database, tasks) as client:
        answer = await client.post("/", headers={"X-Request-ID": "the-request"})
        assert answer.status_code == 200
        assert tasks.waiting == 1
        go_on.set()
    assert seen[0][0] == "the-request"
    assert seen[0][1] != answer.json()
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

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def works() -> None:
        ran.append(1)

    with logged() as records:
        async with open_light_tasks({}, timeout_seconds=0.05) as tasks:
            for function in (fails, hangs, works):
                tasks.start(function, {})
        assert tasks.failed == 2
        assert tasks.waiting == 0
    assert ran == [1]
    told = {fields["task"].rpartition(".")[2] for fields in records.fields("task_failed")}
    assert told == {"fails", "hangs"}


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
    assert records.fields("tasks_cancelled")


async def test_wrong_arguments_are_refused_in_the_request() -> None:
    async def note(number: int) -> None: ...

    with pytest.raises(TypeError, match="do not fit"):
        AfterResponse().run(note, number="seven")
