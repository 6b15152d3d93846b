"""One trace from the caller over the request to the job, with the request's id and nothing secret on its spans."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hardpoint.jobs import GiveUp, JobRegistry
from hardpoint.jobs.durable import DurableJobs
from hardpoint.lifespan.http_client import open_http_client
from hardpoint.log import get_logger
from hardpoint.middleware import AccessLogMiddleware, RequestIdMiddleware, Stack, TracingMiddleware
from hardpoint.tracing import carried, continued, is_export_wanted, trace_fields
from support.asgi import call, client_of, http_scope
from support.jobs import Bench, finished
from support.spans import CALLER, TRACEPARENT, Lines, trace_of

registry = JobRegistry()


@registry.job(attempts=1)
async def work(fails: bool) -> None:
    get_logger("hardpoint.test").info("worked")
    if fails:
        raise GiveUp("told")


@pytest.fixture
async def jobs(bench: Bench) -> AsyncIterator[DurableJobs]:
    async with bench.jobs(registry) as jobs:
        yield jobs


def app_of(jobs: DurableJobs | None = None) -> FastAPI:
    app = FastAPI(
        middleware=Stack(
            Middleware(RequestIdMiddleware), Middleware(TracingMiddleware), Middleware(AccessLogMiddleware)
        ),
        telemetry={"operation_spans": False},
    )

    @app.post("/work/{name}")
    async def start(name: str, fails: bool = False) -> str | None:
        return await jobs.enqueue(work, fails=fails) if jobs is not None else None

    return app


async def test_a_trace_goes_from_the_caller_to_the_job_and_into_the_log(
    exporter: InMemorySpanExporter, lines: Lines, bench: Bench, jobs: DurableJobs
) -> None:
    async with bench.worker(jobs):
        async with client_of(app_of(jobs), headers={"traceparent": TRACEPARENT, "X-Request-ID": "asked"}) as client:
            fine = (await client.post("/work/a")).json()
            failing = (await client.post("/work/b?fails=true")).json()
        for job_id in [fine, failing]:
            await finished(jobs, job_id)
    spans = exporter.get_finished_spans()
    requests = [span for span in spans if span.name == "POST /work/{name}"]
    attempts = {dict(span.attributes or {})["hardpoint.job_id"]: span for span in spans if span.name == "job work"}
    assert len(requests) == 2
    assert set(attempts) == {fine, failing}
    assert {trace_of(span) for span in [*requests, *attempts.values()]} == {CALLER}
    for span in [*requests, *attempts.values()]:
        assert dict(span.attributes or {})["hardpoint.request_id"] == "asked"
    inside = {span.get_span_context().span_id for span in requests}
    assert {span.parent.span_id for span in attempts.values() if span.parent is not None} == inside
    assert attempts[fine].status.is_ok
    assert not attempts[failing].status.is_ok
    assert attempts[failing].status.description == "told"
    told = {entry["event"]: entry for entry in lines.entries if entry.get("trace_id") == CALLER}
    assert set(told) >= {"request", "job_enqueued", "worked", "job_succeeded", "job_failed"}
    assert {entry["request_id"] for entry in told.values()} == {"asked"}


async def test_a_job_that_nobody_traced_begins_a_trace(
    exporter: InMemorySpanExporter, bench: Bench, jobs: DurableJobs
) -> None:
    async with bench.worker(jobs):
        await finished(jobs, await jobs.enqueue(work, fails=False))
    (span,) = exporter.get_finished_spans()
    assert span.name == "job work"
    assert span.parent is None


async def test_a_query_is_on_no_span(exporter: InMemorySpanExporter) -> None:
    async def answer(_: Any) -> PlainTextResponse:
        return PlainTextResponse("")

    starlette = Starlette(
        routes=[Route("/", answer)],
        middleware=[Middleware(OpenTelemetryMiddleware), Middleware(TracingMiddleware)],
    )
    for app, method, path in [(app_of(), "POST", "/work/a"), (starlette, "GET", "/")]:
        async with client_of(app) as client:
            await client.request(method, f"{path}?token=canary")
    spans = exporter.get_finished_spans()
    assert len(spans) == 2
    for span in spans:
        assert "canary" not in span.to_json()
        assert dict(span.attributes or {})["url.query"] == "REDACTED"


async def test_outgoing_calls_carry_the_trace(exporter: InMemorySpanExporter) -> None:
    seen: list[httpx2.Headers] = []

    async def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers)
        return httpx2.Response(200)

    async with open_http_client() as client:
        client._transport = httpx2.MockTransport(answer)
        await client.get("http://elsewhere.example/")
        with trace.get_tracer("test").start_as_current_span("outside") as span:
            await client.get("http://elsewhere.example/")
    assert "traceparent" not in seen[0]
    assert trace.format_trace_id(span.get_span_context().trace_id) in seen[1]["traceparent"]


def test_an_exception_is_on_the_span_by_its_class_alone(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="canary"), continued("work", {"traceparent": TRACEPARENT}, {}):
        raise ValueError("canary")
    (span,) = exporter.get_finished_spans()
    assert trace_of(span) == CALLER
    assert dict(span.attributes or {})["error.type"] == "ValueError"
    assert "canary" not in span.to_json()


@pytest.mark.parametrize("header", ["", "00-0-0-0", f"00-{'0' * 32}-b7ad6b7169203331-01", "x" * 10_000])
async def test_a_broken_traceparent_begins_a_new_trace(exporter: InMemorySpanExporter, header: str) -> None:
    async with client_of(app_of(), headers={"traceparent": header}) as client:
        assert (await client.post("/work/a")).status_code == 200
    (span,) = exporter.get_finished_spans()
    assert span.parent is None


async def test_without_a_provider_nothing_is_carried() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert carried() == {}
        assert trace_fields() == {}

    await call(TracingMiddleware(app), http_scope(headers=[("traceparent", TRACEPARENT)]))
    with continued("work", {}, {}):
        assert carried() == {}
        assert trace_fields() == {}


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_exported_when_opentelemetrys_variables_ask_for_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: bool
) -> None:
    for name in ["ENDPOINT", "TRACES_ENDPOINT"]:
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_export_wanted() == wanted
