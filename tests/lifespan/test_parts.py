"""The lifespan: what is opened is closed, in order, whatever happens; health; leaving; background work."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from math import nan
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

from hardpoint import context
from hardpoint.errors import install_error_handlers
from hardpoint.lifespan import (
    Drain,
    DrainMiddleware,
    Lifespan,
    Opened,
    Resource,
    health_router,
    open_drain,
    periodic,
    warm_up,
)
from hardpoint.lifespan.http_client import open_http_client
from support.asgi import call, client_of, http_scope, logged
from support.servers import running_app


class Journal(list[str]):
    """What happened, in order."""

    def resource(
        self, name: str, *, opening: Exception | None = None, closing: Exception | None = None, **options: Any
    ) -> Resource[str]:
        @asynccontextmanager
        async def open_resource(opened: Opened) -> AsyncIterator[str]:
            if opening is not None:
                raise opening
            self.append(f"open {name}")
            try:
                yield name.upper()
            finally:
                self.append(f"close {name}")
                if closing is not None:
                    raise closing

        return Resource(name, open_resource, **options)


@pytest.fixture
def journal() -> Journal:
    return Journal()


async def test_resources_are_opened_in_order_and_closed_in_reverse(journal: Journal) -> None:
    lifespan = Lifespan(*[journal.resource(name) for name in ("a", "b", "c")])
    async with lifespan(Starlette()) as state:
        assert state == {"a": "A", "b": "B", "c": "C"}
        journal.append("serve")
    assert journal == ["open a", "open b", "open c", "serve", "close c", "close b", "close a"]


async def test_when_one_fails_to_open_those_before_it_are_closed(journal: Journal) -> None:
    lifespan = Lifespan(journal.resource("a"), journal.resource("b", opening=OSError("no")), journal.resource("c"))
    with logged() as records, pytest.raises(OSError, match="no"):
        async with lifespan(Starlette()):
            raise AssertionError("nothing is served")
    assert journal == ["open a", "close a"]
    assert records.fields("resource_failed_to_open") == [{"resource": "b", "error": "OSError"}]


async def undecorated(_: Opened) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("opens", [undecorated, lambda _: "a value"])
async def test_what_opens_nothing_is_told_by_its_name_and_those_before_are_closed(journal: Journal, opens: Any) -> None:
    lifespan = Lifespan(journal.resource("a"), Resource("b", opens))
    with logged() as records, pytest.raises(TypeError, match="'b' must open as an async context manager"):
        async with lifespan(Starlette()):
            raise AssertionError("nothing is served")
    assert journal == ["open a", "close a"]
    assert records.fields("resource_failed_to_open") == [{"resource": "b", "error": "TypeError"}]


async def test_when_one_fails_to_close_the_others_are_closed_all_the_same(journal: Journal) -> None:
    lifespan = Lifespan(journal.resource("a"), journal.resource("b", closing=OSError("stuck")), journal.resource("c"))
    with pytest.raises(OSError, match="stuck"):
        async with lifespan(Starlette()):
            pass
    assert journal[3:] == ["close c", "close b", "close a"]


async def test_one_that_does_not_close_in_time_is_given_up(journal: Journal) -> None:
    @asynccontextmanager
    async def hangs(opened: Opened) -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    lifespan = Lifespan(journal.resource("a"), Resource("hangs", hangs, close_timeout_seconds=0.05))
    with logged() as records, pytest.raises(TimeoutError):
        async with lifespan(Starlette()):
            pass
    assert journal == ["open a", "close a"]
    assert records.fields("resource_failed_to_close") == [{"resource": "hangs", "error": "TimeoutError"}]


async def test_a_resource_builds_on_those_before_it_and_on_no_later_one(journal: Journal) -> None:
    first, last = journal.resource("first"), journal.resource("last")
    seen: list[str] = []

    def open_second(opened: Opened) -> AbstractAsyncContextManager[str]:
        seen.append(opened[first])
        assert first in opened
        assert last not in opened
        with pytest.raises(LookupError, match="declare it before"):
            opened[last]
        return journal.resource("inner").open(opened)

    async with Lifespan(first, Resource("second", open_second), last)(Starlette()) as state:
        assert set(state) == {"first", "second", "last"}
    assert seen == ["FIRST"]


def test_names_are_checked_when_they_are_written(journal: Journal) -> None:
    with pytest.raises(ValueError, match="Two resources are named a"):
        Lifespan(journal.resource("a"), journal.resource("a"))
    with pytest.raises(ValueError, match="Python identifier"):
        journal.resource("not a name")


async def check_nothing(_: object) -> None: ...


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Lifespan([Resource.constant("a", 1)]), "no Resource; write Lifespan"),  # type: ignore[arg-type]
        (lambda: Lifespan(check_nothing), "no Resource; write Lifespan"),  # type: ignore[arg-type]
        (lambda: Lifespan(then=nullcontext()), "no function of the application"),  # type: ignore[arg-type]
        (lambda: Resource("drain", open_drain()), "write Resource\\('drain', lambda opened: ...\\)"),
        (lambda: Resource("a", 1), "a: 1 is no function that opens it"),  # type: ignore[arg-type]
        (lambda: Resource("a", nullcontext, check=True), "a: True is no function that checks it"),  # type: ignore[arg-type]
        (lambda: health_router(Lifespan), "lifespan takes the one in FastAPI"),  # type: ignore[arg-type]
        (lambda: health_router([Resource.constant("a", 1)]), "lifespan takes the one in FastAPI"),  # type: ignore[arg-type]
        (lambda: periodic("tick", None, every_seconds=1), "tick: None is no function"),  # type: ignore[arg-type]
        (lambda: warm_up("cache", None), "cache: None is no function"),  # type: ignore[arg-type]
    ],
)
def test_what_is_something_else_is_refused_when_it_is_written(make: Callable[[], object], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        make()


@pytest.mark.parametrize("seconds", [0, -1, nan])
@pytest.mark.parametrize(
    "make",
    [
        lambda seconds: Resource("a", nullcontext, check_timeout_seconds=seconds),
        lambda seconds: Resource("a", nullcontext, close_timeout_seconds=seconds),
        lambda seconds: periodic("a", check_nothing, every_seconds=seconds),
        lambda seconds: warm_up("a", check_nothing, timeout_seconds=seconds),
        lambda seconds: health_router(Lifespan(), fresh_seconds=seconds or -1),
    ],
)
def test_a_time_in_which_nothing_could_be_done_is_refused(make: Callable[[float], object], seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be"):
        make(seconds)


async def test_an_own_lifespan_that_opens_nothing_is_told_what_it_may_lack(journal: Journal) -> None:
    own: Any = undecorated
    with pytest.raises(TypeError, match="own lifespan must open .* may lack @asynccontextmanager"):
        async with Lifespan(journal.resource("a"), then=own)(Starlette()):
            raise AssertionError("nothing is served")
    assert journal == ["open a", "close a"]


async def test_a_check_that_is_not_async_has_failed_and_the_log_says_so(journal: Journal) -> None:
    check: Any = lambda _: None  # noqa: E731 - a mistake.
    async with started(app_with_health(journal.resource("db", check=check))) as client:
        with logged() as records:
            answer = await client.get("/health/ready")
    assert answer.json()["resources"] == {"db": {"status": "failed"}}
    assert records.fields("health_check_not_async") == [{"resource": "db"}]


async def test_it_composes_with_an_own_lifespan_and_those_of_mounted_applications(journal: Journal) -> None:
    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        journal.append(f"own sees {app.state.a}")
        yield {"own": "OWN"}
        journal.append("own ends")

    @asynccontextmanager
    async def inner(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        journal.append("inner begins")
        yield {"inner": "INNER"}
        journal.append("inner ends")

    a = journal.resource("a")
    mounted = FastAPI(lifespan=inner)
    app = FastAPI(lifespan=Lifespan(a, then=own))
    app.mount("/mounted", mounted)

    @mounted.get("/state")
    async def state(request: Request) -> list[str]:
        return [request.state.a, request.state.own, request.state.inner]

    @app.get("/a")
    async def read(value: Annotated[str, Depends(a)]) -> str:
        return value

    async with running_app(app) as url, open_http_client(base_url=url) as client:
        assert (await client.get("/mounted/state")).json() == ["A", "OWN", "INNER"]
        assert (await client.get("/a")).json() == "A"
        app.dependency_overrides[a] = lambda: "overridden"
        assert (await client.get("/a")).json() == "overridden"
    assert journal == [
        "open a",
        "own sees A",
        "inner begins",
        "inner ends",
        "own ends",
        "close a",
    ]


# Health


def app_with_health(*resources: Resource[Any], clock: Callable[[], float] | None = None) -> FastAPI:
    lifespan = Lifespan(*resources)
    app = FastAPI(lifespan=lifespan)
    install_error_handlers(app)
    options = {} if clock is None else {"clock": clock}
    app.include_router(health_router(lifespan, **options))
    return app


@asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[Any]:
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state or {})
            await app(scope, receive, send)

        async with client_of(with_state) as client:
            yield client


async def test_readiness_tells_each_resources_state_and_nothing_about_why(journal: Journal) -> None:
    broken = True

    async def sometimes(value: str) -> None:
        if broken:
            raise ConnectionError("canary")

    async def never(value: str) -> None:
        await asyncio.Event().wait()

    now = 0.0
    app = app_with_health(
        journal.resource("plain"),
        journal.resource("db", check=sometimes),
        journal.resource("extra", check=never, check_timeout_seconds=0.02, required=False),
        clock=lambda: now,
    )
    async with started(app) as client:
        assert (await client.get("/health/live")).json() == {"status": "ok"}
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        body = answer.json()
        assert body["code"] == "SERVICE_UNAVAILABLE"
        assert body["status"] == "unavailable"
        assert body["resources"] == {
            "plain": {"status": "ok"},
            "db": {"status": "failed"},
            "extra": {"status": "timed_out"},
        }
        assert "canary" not in answer.text
        broken = False
        assert (await client.get("/health/ready")).status_code == 503, "a result is used again for a moment"
        now += 1.1
        answer = await client.get("/health/ready")
        assert answer.status_code == 200
        assert answer.json()["status"] == "ok"


async def test_checks_run_once_for_however_many_ask(journal: Journal) -> None:
    checks = 0

    async def check(value: str) -> None:
        nonlocal checks
        checks += 1
        await asyncio.sleep(0.01)

    async with started(app_with_health(journal.resource("db", check=check))) as client:
        answers = await asyncio.gather(*[client.get("/health/ready") for _ in range(20)])
    assert {answer.status_code for answer in answers} == {200}
    assert checks == 1


# Leaving


async def test_draining_waits_for_what_is_in_flight_and_stays_its_delay() -> None:
    now = 0.0
    drain = Drain(delay_seconds=5, grace_seconds=20, clock=lambda: now)
    told: list[str] = []
    drain.on_draining(lambda: told.append("first"))
    drain.in_flight = 1
    drain.start()
    drain.start()
    drain.on_draining(lambda: told.append("late"))
    assert drain.draining
    assert told == ["first", "late"]
    waiting = asyncio.create_task(drain.finished())
    await asyncio.sleep(0.12)
    now = 6.0
    await asyncio.sleep(0.12)
    assert not waiting.done(), "a request is in flight"
    drain.in_flight = 0
    await waiting


async def test_draining_gives_up_after_its_grace() -> None:
    now = 0.0
    drain = Drain(delay_seconds=0, grace_seconds=1, clock=lambda: now)
    drain.in_flight = 3
    with logged() as records:
        waiting = asyncio.create_task(drain.finished())
        await asyncio.sleep(0)
        now = 2.0
        await waiting
    assert records.fields("drain_gave_up") == [{"in_flight": 3}]
    with pytest.raises(ValueError, match="between 0 and grace_seconds"):
        Drain(delay_seconds=2, grace_seconds=1)


async def test_requests_are_counted_and_told_to_go_elsewhere_while_draining() -> None:
    drain = Drain()
    counts: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        counts.append(drain.in_flight)
        if scope["path"] == "/fails":
            raise ZeroDivisionError
        await PlainTextResponse("ok")(scope, receive, send)

    guarded = DrainMiddleware(app)
    state = {"drain": drain}
    start, _ = await call(guarded, http_scope("/", state=state))
    assert (b"connection", b"close") not in start["headers"]
    with pytest.raises(ZeroDivisionError):
        await call(guarded, http_scope("/fails", state=state))
    await call(guarded, http_scope("/health/live", state=state))
    assert counts == [1, 1, 0]
    assert drain.in_flight == 0
    drain.start()
    start, _ = await call(guarded, http_scope("/", state=state))
    assert (b"connection", b"close") in start["headers"]
    start, _ = await call(guarded, http_scope("/", http_version="2", state=state))
    assert (b"connection", b"close") not in start["headers"], "HTTP/2 has no such header"


# Background work


async def test_periodic_work_goes_on_after_a_failure_and_ends_with_the_service() -> None:
    runs = 0
    enough = asyncio.Event()

    async def work(opened: Opened) -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            raise ZeroDivisionError
        if runs >= 4:
            enough.set()
            await asyncio.Event().wait()

    with logged() as records:
        async with Lifespan(periodic("tick", work, every_seconds=0.001, at_start=True))(Starlette()):
            await enough.wait()
    assert runs == 4
    assert records.fields("periodic_work_failed") == [{"work": "tick"}]
    for options in ({"every_seconds": 0}, {"every_seconds": 1, "jitter": 2}):
        with pytest.raises(ValueError, match="every_seconds"):
            periodic("tick", work, **options)


async def wait_for_what_is_cancelled(_: object) -> None:
    """What a library does whose connection is closed under it: nobody has cancelled the task that waits."""
    other = asyncio.create_task(asyncio.sleep(3600))
    other.cancel()
    await other


async def test_periodic_work_and_checks_that_wait_for_what_is_cancelled_have_failed(journal: Journal) -> None:
    enough = asyncio.Event()
    runs = 0

    async def work(opened: Opened) -> None:
        nonlocal runs
        runs += 1
        if runs > 1:
            enough.set()
        await wait_for_what_is_cancelled(opened)

    away = journal.resource("away", check=wait_for_what_is_cancelled)
    async with started(app_with_health(away, periodic("tick", work, every_seconds=0.001, at_start=True))) as client:
        answer = await client.get("/health/ready")
        await asyncio.wait_for(enough.wait(), 30)
    assert answer.status_code == 503
    assert answer.json()["resources"]["away"] == {"status": "failed"}


@pytest.mark.parametrize("required", [True, False])
async def test_a_warm_up_is_done_before_the_first_request_and_may_be_optional(journal: Journal, required: bool) -> None:
    async def fill(opened: Opened) -> None:
        journal.append("warm")

    async def fails(opened: Opened) -> None:
        raise ConnectionError

    async with Lifespan(warm_up("cache", fill))(Starlette()):
        journal.append("serve")
    assert journal == ["warm", "serve"]
    lifespan = Lifespan(warm_up("cache", fails, required=required))
    if required:
        with pytest.raises(ConnectionError):
            async with lifespan(Starlette()):
                journal.append("never")
    else:
        async with lifespan(Starlette()):
            journal.append("cold")
    assert journal[2:] == ([] if required else ["cold"])


async def test_the_http_client_carries_the_request_id_along() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        await PlainTextResponse(headers.get(b"x-request-id", b"none").decode())(scope, receive, send)

    async with running_app(echo, lifespan="off") as url, open_http_client(base_url=url) as client:
        assert (await client.get("/")).text == "none"
        token = context.request_id.set("the-request")
        assert (await client.get("/")).text == "the-request"
        assert (await client.get("/", headers={"X-Request-ID": "mine"})).text == "mine"
        context.request_id.reset(token)
