"""Durable jobs on a fresh database, and what is told of them."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hardpoint.db import open_database
from hardpoint.jobs.durable import migrate
from support.asgi import logged
from support.jobs import Base, Bench
from support.spans import Lines


@pytest.fixture
async def bench(database_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    await migrate(database_url)
    async with open_database(database_url) as database:
        await database.create_tables(Base.metadata)
        yield Bench(database, database_url, tmp_path)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # OpenTelemetry lets a process choose once.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines, logger = Lines(), logging.getLogger("hardpoint")
    logger.addHandler(lines)
    with logged():
        yield lines
    logger.removeHandler(lines)
