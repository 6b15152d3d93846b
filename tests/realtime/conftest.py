"""The stores, and a hub over them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest

from hardpoint.broadcast.valkey import open_valkey_broadcast
from hardpoint.realtime import ChannelStore, MemoryChannels
from hardpoint.realtime.valkey import open_valkey_channels
from realtime.serving import Bench, serving
from support.servers import ValkeyServer

OpenStore = Callable[[], AbstractAsyncContextManager[ChannelStore]]


@pytest.fixture(params=["memory", "valkey"])
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    """Opens a store of each kind; twice, it is the same one as two processes have it."""
    memory = MemoryChannels()

    @asynccontextmanager
    async def in_memory() -> AsyncIterator[ChannelStore]:
        yield memory

    if request.param == "memory":
        return in_memory
    server: ValkeyServer = request.getfixturevalue("valkey")
    return lambda: on_valkey(server)


@asynccontextmanager
async def on_valkey(server: ValkeyServer) -> AsyncIterator[ChannelStore]:
    async with (
        open_valkey_broadcast(server.url) as broadcast,
        open_valkey_channels(server.url, broadcast) as store,
    ):
        yield store


@pytest.fixture
async def valkey_store(valkey: ValkeyServer) -> AsyncIterator[ChannelStore]:
    async with on_valkey(valkey) as opened:
        yield opened


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[ChannelStore]:
    async with open_store() as opened:
        yield opened


@pytest.fixture
async def instances(open_store: OpenStore) -> AsyncIterator[list[Bench]]:
    """Two servers, each with a hub of its own, on one store."""
    async with AsyncExitStack() as stack:
        benches = []
        for _ in range(2):
            store = await stack.enter_async_context(open_store())
            benches.append(await stack.enter_async_context(serving(store=store)))
        yield benches
