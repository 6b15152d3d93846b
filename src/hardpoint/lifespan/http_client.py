"""One pool of outgoing HTTP connections for the whole service, which carries the request's id and trace along.

Needs the extra `http`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx2
from fastapi import Depends
from starlette.requests import HTTPConnection

from hardpoint import context
from hardpoint.scope import of_lifespan
from hardpoint.tracing import carried

__all__ = ["HttpClient", "get_http_client", "open_http_client"]


@asynccontextmanager
async def open_http_client(
    *,
    base_url: str = "",
    timeout_seconds: float = 10.0,
    connect_timeout_seconds: float = 3.0,
    max_connections: int = 100,
    max_keepalive_connections: int = 20,
    connect_retries: int = 1,
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose requests carry `X-Request-ID` and `traceparent`; its connections are closed at the end.

    As a resource: `Resource("http_client", lambda _: open_http_client())`.

    Args:
        base_url: Put before relative addresses.
        timeout_seconds: For reading, writing, and waiting for a free connection.
        connect_timeout_seconds: For opening a connection.
        max_connections: The most connections at once.
        max_keepalive_connections: The most that are kept open while idle.
        connect_retries: How often a failed connection is tried again; a request that was sent never is.
    """
    limits = httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_keepalive_connections)
    async with httpx2.AsyncClient(
        base_url=base_url,
        timeout=httpx2.Timeout(timeout_seconds, connect=connect_timeout_seconds),
        transport=httpx2.AsyncHTTPTransport(limits=limits, retries=connect_retries),
        event_hooks={"request": [_carry_on]},
    ) as client:
        yield client


async def _carry_on(request: httpx2.Request) -> None:
    request_id = context.request_id.get()
    if request_id is not None:
        request.headers.setdefault(context.REQUEST_ID_HEADER, request_id)
    for name, value in carried().items():
        request.headers.setdefault(name, value)


async def get_http_client(connection: HTTPConnection) -> httpx2.AsyncClient:
    """The client that the lifespan opened under the name `http_client`."""
    client: httpx2.AsyncClient = of_lifespan(connection.scope, "http_client")
    return client


HttpClient = Annotated[httpx2.AsyncClient, Depends(get_http_client)]
"""The service's HTTP client."""
