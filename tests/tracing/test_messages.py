"""The trace goes on from the job to the process that sends a message to its sockets, under the request's id."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.middleware import Middleware

from hardpoint.broadcast.valkey import open_valkey_broadcast
from hardpoint.jobs import JobRegistry
from hardpoint.jobs.durable import DurableJobs
from hardpoint.jobs.worker import open_worker
from hardpoint.lifespan import Lifespan, Resource
from hardpoint.middleware import RequestIdMiddleware, Stack, TracingMiddleware
from hardpoint.realtime import Channels, Hub, Realtime, open_hub, realtime_router
from hardpoint.realtime.origin import current_origin
from hardpoint.realtime.valkey import open_valkey_channels
from support.asgi import client_of
from support.jobs import Bench
from support.live import live
from support.servers import ValkeyServer, running_app
from support.spans import CALLER, TRACEPARENT, Lines, trace_of

registry = JobRegistry()


@registry.job()
async def tell(realtime: Realtime) -> None:
    await realtime.publish("news", {"n": 1})


@asynccontextmanager
async def hub_on(valkey: ValkeyServer) -> AsyncIterator[Hub]:
    channels = Channels()

    @channels.channel("news")
    async def news() -> None:
        """What is new."""

    async with (
        open_valkey_broadcast(valkey.url) as broadcast,
        open_valkey_channels(valkey.url, broadcast) as store,
        open_hub(channels, store) as hub,
    ):
        yield hub


def asking(jobs: DurableJobs) -> FastAPI:
    stack = Stack(Middleware(RequestIdMiddleware), Middleware(TracingMiddleware))
    app = FastAPI(middleware=stack, telemetry={"operation_spans": False})

    @app.post("/tell")
    async def ask() -> str:
        return await jobs.enqueue(tell)

    return app


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_trace_goes_from_the_request_over_the_job_to_the_process_of_the_socket(
    exporter: InMemorySpanExporter, lines: Lines, bench: Bench, valkey: ValkeyServer
) -> None:
    serving = FastAPI(lifespan=Lifespan(Resource("realtime", lambda _: hub_on(valkey))))
    serving.include_router(realtime_router())
    async with bench.jobs(registry) as jobs, hub_on(valkey) as of_the_worker, running_app(serving) as url:
        state = {"database": bench.database, "jobs": jobs, "realtime": of_the_worker}
        async with open_worker(jobs, state=state, poll_seconds=0.05), live(url) as socket:
            await socket.subscribe("news")
            headers = {"traceparent": TRACEPARENT, "X-Request-ID": "asked"}
            async with client_of(asking(jobs), headers=headers) as client:
                assert (await client.post("/tell")).status_code == 200
            (data,) = await socket.data(1)
    assert data == {"n": 1}
    spans = exporter.get_finished_spans()
    (sent,) = [span for span in spans if span.name == "channel message"]
    (job,) = [span for span in spans if span.name == "job tell"]
    assert trace_of(sent) == trace_of(job) == CALLER
    assert sent.parent is not None
    assert sent.parent.span_id == job.get_span_context().span_id
    attributes = dict(sent.attributes or {})
    assert (attributes["hardpoint.request_id"], attributes["hardpoint.listeners"]) == ("asked", 1)
    (line,) = [entry for entry in lines.entries if entry["event"] == "channel_message"]
    assert (line["request_id"], line["trace_id"], line["channel"]) == ("asked", CALLER, "news")


async def test_a_message_that_nobody_asked_for_has_no_origin() -> None:
    assert current_origin() == b""
