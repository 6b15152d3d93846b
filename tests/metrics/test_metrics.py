"""What is counted, under which labels, and what a scrape tells when something cannot be read."""

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from prometheus_client import Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from hardpoint.aio import task_group
from hardpoint.auth import require_scope
from hardpoint.db import open_database
from hardpoint.errors import ServiceUnavailable
from hardpoint.jobs import LightTasks
from hardpoint.lifespan import Lifespan, Resource
from hardpoint.metrics import MeteredLimiter, Metrics, MetricsMiddleware, metrics_router
from hardpoint.metrics.sources import database_pool, light_tasks, limiter_store
from hardpoint.middleware import ErrorsMiddleware, Stack, StackOrderError
from hardpoint.ratelimit import Charge, MemoryLimiter, Rate, ResilientLimiter, StoreUnavailable
from hardpoint.ratelimit.resilient import Breaker
from support.asgi import call, client_of, http_scope, logged

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def samples(metrics: Metrics) -> Samples:
    families = text_string_to_metric_families((await metrics.render()).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


async def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return (await samples(metrics)).get((name, frozenset(labels.items())))


async def requests(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    found = {}
    for (name, labels), count in (await samples(metrics)).items():
        if name == "hardpoint_http_requests_total":
            of = dict(labels)
            found[of["method"], of["route"], of["status"]] = count
    return found


def app_of(metrics: Metrics) -> FastAPI:
    app = FastAPI(middleware=[Middleware(MetricsMiddleware, metrics=metrics), Middleware(ErrorsMiddleware)])
    posts = APIRouter(prefix="/posts")

    @posts.get("/{post_id}/comments")
    async def read(post_id: int) -> None:
        if post_id == 0:
            raise HTTPException(404)
        if post_id == 1:
            raise RuntimeError

    versioned = APIRouter(prefix="/v1")
    versioned.include_router(posts)
    app.include_router(versioned)
    inner = FastAPI()
    inner.include_router(posts)
    app.mount("/inner", inner)
    app.mount("/of/{tenant}", inner)
    return app


async def test_requests_are_counted_by_method_route_and_status() -> None:
    metrics = Metrics()
    async with client_of(app_of(metrics)) as client:
        for path in ["/v1/posts/7/comments", "/v1/posts/8/comments", "/v1/posts/0/comments", "/v1/posts/x/comments"]:
            await client.get(path)
        await client.get("/v1/posts/1/comments")
        await client.put("/v1/posts/7/comments")
        await client.get("/inner/posts/7/comments")
        await client.get("/of/anybody/posts/7/comments")
        await client.get("/of/somebody/posts/7/comments")
    route = "/v1/posts/{post_id}/comments"
    assert await requests(metrics) == {
        ("GET", route, "200"): 2,
        ("GET", route, "404"): 1,
        ("GET", route, "422"): 1,
        ("GET", route, "500"): 1,
        ("PUT", route, "405"): 1,
        ("GET", "/inner/posts/{post_id}/comments", "200"): 1,
        # What a client chooses is no label.
        ("GET", "/posts/{post_id}/comments", "200"): 2,
    }
    assert await value(metrics, "hardpoint_http_request_duration_seconds_count", method="GET", route=route) == 5


async def test_clients_cannot_make_labels() -> None:
    metrics = Metrics()
    async with client_of(app_of(metrics)) as client:
        for number in range(20):
            await client.get(f"/nowhere/{number}")
            await client.request(f"BREW{number}", "/nowhere")
    assert await requests(metrics) == {("GET", "other", "404"): 20, ("other", "other", "404"): 20}


async def test_a_starlette_application_is_counted_by_its_routes() -> None:
    metrics = Metrics()

    async def answer(_: Any) -> PlainTextResponse:
        return PlainTextResponse("")

    routes = [Route("/a/{b}", answer), Mount("/below", routes=[Route("/{c}", answer)])]
    app = Starlette(routes=routes, middleware=[Middleware(MetricsMiddleware, metrics=metrics)])
    async with client_of(app) as client:
        await client.get("/a/1")
        await client.get("/below/2")
    assert await requests(metrics) == {("GET", "/a/{b}", "200"): 1, ("GET", "/below/{c}", "200"): 1}


async def test_what_is_in_flight_and_who_left_is_known() -> None:
    metrics = Metrics()
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        inside.set()
        await go_on.wait()

    async with task_group() as group:
        group.create_task(call(MetricsMiddleware(slow, metrics=metrics), http_scope()))
        await inside.wait()
        assert await value(metrics, "hardpoint_http_requests_in_flight") == 1
        go_on.set()
    assert await value(metrics, "hardpoint_http_requests_in_flight") == 0
    assert await requests(metrics) == {("GET", "other", "499"): 1}


async def test_an_exception_that_nobody_answers_is_counted_as_the_servers_500() -> None:
    metrics = Metrics()

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await call(MetricsMiddleware(broken, metrics=metrics), http_scope())
    assert await requests(metrics) == {("GET", "other", "500"): 1}


async def test_sockets_and_applications_without_metrics_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await call(MetricsMiddleware(app), http_scope())
    metrics = Metrics()
    await call(MetricsMiddleware(app, metrics=metrics), {"type": "websocket", "path": "/"})
    assert seen == ["http", "websocket"]
    assert await requests(metrics) == {}


def test_metrics_stand_outside_of_what_answers_by_itself() -> None:
    with pytest.raises(StackOrderError, match="a crash must be counted"):
        Stack(Middleware(ErrorsMiddleware), Middleware(MetricsMiddleware))


async def test_the_route_asks_its_guard_and_tells_of_the_application_in_the_state() -> None:
    async def guard(key: str = "") -> None:
        if key != "right":
            raise HTTPException(403)

    metrics = Metrics(version="1.2.3", instance="a")
    lifespan = Lifespan(Resource("metrics", lambda _: nullcontext(metrics)))
    app = FastAPI(lifespan=lifespan, middleware=[Middleware(MetricsMiddleware)])
    app.include_router(metrics_router(guard=Depends(guard)))
    async with lifespan(app) as state:

        async def served(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        async with client_of(served) as client:
            assert (await client.get("/internal/metrics")).status_code == 403
            answer = await client.get("/internal/metrics?key=right")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'hardpoint_info{instance_name="a",version="1.2.3"} 1.0' in answer.text
    assert 'hardpoint_http_requests_total{method="GET",route="/internal/metrics",status="403"} 1.0' in answer.text
    assert "process_resident_memory_bytes" in answer.text


async def test_what_cannot_be_read_hides_nothing_else() -> None:
    metrics = Metrics(timeout_seconds=0.01)

    def broken() -> Iterable[Metric]:
        raise RuntimeError("canary")

    async def slow() -> Iterable[Metric]:
        await asyncio.Event().wait()
        return []

    metrics.add("broken", broken)
    metrics.add("slow", slow)
    metrics.add("fine", lambda: [GaugeMetricFamily("mine", "Mine", value=7)])
    with pytest.raises(ValueError, match="read already"):
        metrics.add("fine", broken)
    Gauge("registered", "Registered", registry=metrics.registry).set(8)
    with logged() as log:
        assert await value(metrics, "mine") == 7
    assert {fields["source"] for fields in log.fields("metrics_source_failed")} == {"broken", "slow"}
    assert await value(metrics, "registered") == 8
    up = [await value(metrics, "hardpoint_source_up", source=name) for name in ["broken", "slow", "fine"]]
    assert up == [0, 0, 1]


async def test_decisions_and_outages_of_the_limiter_are_counted() -> None:
    class Away(MemoryLimiter):
        async def hit(self, *charges: Charge) -> Any:
            raise StoreUnavailable

        async def ping(self) -> None:
            raise StoreUnavailable

    metrics = Metrics()
    store = Away()
    resilient = ResilientLimiter(store, Breaker(store.ping), MemoryLimiter())
    limiter = MeteredLimiter(resilient, metrics)
    metrics.add("limiter", lambda: limiter_store(limiter))
    assert await value(metrics, "hardpoint_limit_store_away") == 0
    charge = Charge(Rate(2, 3600, name="writes"), "somebody")
    for _ in range(3):
        await limiter.hit(charge)
    assert await value(metrics, "hardpoint_limit_decisions_total", policy="writes", decision="allowed") == 2
    assert await value(metrics, "hardpoint_limit_decisions_total", policy="writes", decision="refused") == 1
    assert await value(metrics, "hardpoint_limit_store_away") == 1
    assert await value(metrics, "hardpoint_limit_store_outages_total") == 1
    assert await value(metrics, "hardpoint_limit_fallbacks_total") == 3
    await limiter.reset(charge)
    assert (await limiter.hit(charge)).allowed
    with pytest.raises(ServiceUnavailable):
        await limiter.hit(replace(charge, needs_store=True))


async def test_the_pool_tells_what_is_checked_out(database_url: str) -> None:
    async with open_database(database_url, pool_size=3, max_overflow=2) as database:
        metrics = Metrics()
        metrics.add("database", lambda: database_pool(database))
        async with database.engine.connect(), database.engine.connect():
            assert await value(metrics, "hardpoint_database_connections", state="checked_out") == 2
        assert await value(metrics, "hardpoint_database_connections", state="checked_out") == 0
        assert await value(metrics, "hardpoint_database_connections", state="open") == 2
        assert await value(metrics, "hardpoint_database_connections", state="limit") == 5


async def test_a_database_in_memory_has_no_pool_to_tell_of() -> None:
    async with open_database("sqlite+aiosqlite://") as database:
        assert database.pool_usage() is None
        assert [family.samples for family in database_pool(database)] == [[]]


async def test_light_tasks_are_counted() -> None:
    go_on = asyncio.Event()

    async def fine() -> None:
        await go_on.wait()

    async def broken() -> None:
        await go_on.wait()
        raise RuntimeError

    metrics = Metrics()
    with logged("hardpoint.tasks"):
        async with task_group() as group:
            tasks = LightTasks(group, state={}, timeout_seconds=5, max_running=2, max_waiting=10)
            for function in [fine, fine, broken]:
                tasks.start(function, {})
            metrics.add("light_tasks", lambda: light_tasks(tasks))
            assert await value(metrics, "hardpoint_tasks_waiting") == 3
            go_on.set()
    assert await value(metrics, "hardpoint_tasks_waiting") == 0
    assert await value(metrics, "hardpoint_tasks_total", outcome="done") == 2
    assert await value(metrics, "hardpoint_tasks_total", outcome="failed") == 1


def test_what_is_no_guard_and_what_cannot_be_read_is_refused_when_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"guard takes Depends\("):
        metrics_router(guard=require_scope("metrics"))
    read: Any = [GaugeMetricFamily("sockets", "Open sockets")]
    with pytest.raises(TypeError, match="sockets: .* is no function"):
        Metrics().add("sockets", read)
    made: Any = Metrics
    with pytest.raises(TypeError, match=r"metrics takes Metrics\(\)"):
        MetricsMiddleware(FastAPI(), metrics=made)
    with pytest.raises(ValueError, match="path must begin with a slash"):
        metrics_router(guard=Depends(require_scope("metrics")), path="metrics")
    with pytest.raises(ValueError, match="timeout_seconds"):
        Metrics(timeout_seconds=0)
