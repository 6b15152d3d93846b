"""Real servers for tests: PostgreSQL and Valkey from wheels, any ASGI application on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from support.databases import PostgresServer, ValkeyServer
from support.ports import free_port, lasting_port

__all__ = ["PostgresServer", "ValkeyServer", "free_port", "lasting_port", "running_app"]


@asynccontextmanager
async def running_app(app: Any, *, ws: Any = "websockets-sansio", **options: Any) -> AsyncIterator[str]:
    """The base URL of `app`, served by uvicorn on a real socket in this loop."""
    port = free_port()
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws=ws,
        timeout_graceful_shutdown=2,
        **options,
    )
    server = uvicorn.Server(config)
    # Not `serve`, which would take over the test process's signal handlers.
    task = asyncio.create_task(server._serve())
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("The server ended before it had started")
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
