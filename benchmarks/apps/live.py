"""The same fan-out in different ways: everybody who is connected gets every message.

`POST /publish?count=&pause_ms=` publishes that many messages of 200 bytes, each with the time at which it was.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from hardpoint.broadcast.valkey import open_valkey_broadcast
from hardpoint.lifespan import Lifespan, Opened, Resource
from hardpoint.realtime import Channels, Hub, Limits, Realtime, open_hub, realtime_router
from hardpoint.realtime.valkey import open_valkey_channels

PADDING = 130


def message(number: int, size: int) -> dict[str, Any]:
    # Every message has the same length, so that bytes received say how many messages were.
    return {"number": f"{number:08}", "at": f"{time.monotonic():020.9f}", "padding": "x" * size}


def with_publish_route(app: FastAPI, publish: Callable[[dict[str, Any]], Awaitable[Any]]) -> FastAPI:
    @app.post("/publish")
    async def publish_many(count: int, pause_ms: float = 0, size: int = PADDING) -> float:
        longest = 0.0
        for number in range(count):
            began = time.monotonic()
            await publish(message(number, size))
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(pause_ms / 1_000)
        return longest

    @app.get("/item")
    async def item() -> int:
        return 1

    return app


def _hardpoint(open_store: Callable[[], Any]) -> FastAPI:
    channels = Channels()

    @channels.channel("all")
    async def everybody() -> None:
        """For everybody."""

    @channels.channel("filler")
    async def filler() -> None:
        """For those whose network is to be filled."""

    @asynccontextmanager
    async def open_realtime(_: Opened) -> AsyncIterator[Hub]:
        limits = Limits(max_waiting_messages=1_000)
        async with open_store() as store, open_hub(channels, store, limits=limits) as hub:
            yield hub

    app = FastAPI(lifespan=Lifespan(Resource("realtime", open_realtime)), openapi_url=None)
    app.include_router(realtime_router())
    hubs: list[Hub] = []

    async def publish(data: dict[str, Any]) -> None:
        await hubs[0].publish("all", data)

    @app.post("/publish/filler")
    async def fill(count: int, size: int, realtime: Realtime) -> None:
        for _ in range(count):
            await realtime.publish("filler", "x" * size)

    @app.get("/closings")
    async def closings(realtime: Realtime) -> int:
        return sum(realtime.closings.values())

    @app.get("/hub")
    async def remember(realtime: Realtime) -> int:
        hubs[:] = [realtime]
        return realtime.connections

    return with_publish_route(app, publish)


def hardpoint_memory() -> FastAPI:
    return _hardpoint(contextlib.nullcontext)


def hardpoint_valkey() -> FastAPI:
    url = os.environ["BENCHMARK_REDIS_URL"]

    @asynccontextmanager
    async def open_store() -> AsyncIterator[Any]:
        async with open_valkey_broadcast(url) as broadcast, open_valkey_channels(url, broadcast) as store:
            yield store

    return _hardpoint(open_store)


def starlette_loop() -> FastAPI:
    """The textbook's ConnectionManager."""
    app = FastAPI(openapi_url=None)
    connections: list[WebSocket] = []

    @app.websocket("/ws")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        connections.append(websocket)
        try:
            while True:
                await websocket.receive_text()
                await websocket.send_json({"type": "subscribed", "channel": "all"})
        except WebSocketDisconnect:
            connections.remove(websocket)

    async def publish(data: dict[str, Any]) -> None:
        for connection in connections:
            await connection.send_json({"type": "message", "channel": "all", "data": data})

    return with_publish_route(app, publish)


def broadcaster_memory() -> FastAPI:
    from broadcaster import Broadcast

    broadcast = Broadcast("memory://")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with broadcast:
            yield

    app = FastAPI(openapi_url=None, lifespan=lifespan)

    @app.websocket("/ws")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()

        async def forward() -> None:
            async with broadcast.subscribe("all") as subscriber:
                await websocket.send_json({"type": "subscribed", "channel": "all"})
                async for event in subscriber:
                    await websocket.send_text(event.message)

        await websocket.receive_text()
        task = asyncio.create_task(forward())
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            task.cancel()

    async def publish(data: dict[str, Any]) -> None:
        await broadcast.publish("all", json.dumps({"type": "message", "channel": "all", "data": data}))

    return with_publish_route(app, publish)


def python_socketio() -> Any:
    import socketio

    server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", compression_threshold=1_000_000)
    app = FastAPI(openapi_url=None)

    async def publish(data: dict[str, Any]) -> None:
        await server.emit("message", {"type": "message", "channel": "all", "data": data})

    with_publish_route(app, publish)
    return socketio.ASGIApp(server, other_asgi_app=app)
