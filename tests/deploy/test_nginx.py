"""`deploy/nginx`, really run: what it tells the service, whom it cuts off, what it tries again."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import websockets
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from support.nginx import Nginx
from support.servers import free_port, running_app


class Upstream:
    """An instance that tells what reached it."""

    def __init__(self) -> None:
        self.requests = 0
        self.app = Starlette(
            routes=[
                Route("/{path:path}", self.answer, methods=["GET", "POST"]),
                WebSocketRoute("/ws", self.echo),
            ]
        )

    async def answer(self, request: Request) -> JSONResponse:
        self.requests += 1
        body = await request.body()
        return JSONResponse({"headers": request.headers.items(), "bytes": len(body)})

    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def nginx(upstream: Upstream) -> AsyncIterator[Nginx]:
    # Short, so that a test need not wait as long as an attacker.
    changes = {f"client_{part}_timeout 10s": f"client_{part}_timeout 1s" for part in ("header", "body")}
    async with running_app(upstream.app) as url:
        with Nginx.started(int(url.rpartition(":")[2]), changes=changes) as nginx:
            yield nginx


@pytest.fixture
async def client(nginx: Nginx) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=nginx.url, timeout=30) as client:
        yield client


def headers_in(answer: httpx2.Response) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in answer.json()["headers"]:
        found.setdefault(name, []).append(value)
    return found


async def test_the_service_learns_who_the_client_is_from_nginx_alone(client: httpx2.AsyncClient, nginx: Nginx) -> None:
    spoofed = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Request-ID": "kept-1.a"}
    headers = headers_in(await client.get("/posts", headers=spoofed))
    assert headers["x-forwarded-for"] == ["127.0.0.1"]
    assert headers["x-forwarded-proto"] == ["http"]
    assert headers["x-request-id"] == ["kept-1.a"]
    assert headers["host"] == ["127.0.0.1"]
    (made,) = headers_in(await client.get("/posts", headers={"X-Request-ID": 'forged"}'}))["x-request-id"]
    assert len(made) == 32


async def test_a_web_socket_passes(nginx: Nginx) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{nginx.port}/ws") as websocket:
        await websocket.send("through")
        assert await websocket.recv() == "through"


def cut_off(nginx: Nginx, sent: bytes) -> bytes:
    """What comes back until nginx gives up on the rest of the request."""
    received = b""
    with socket.create_connection(("127.0.0.1", nginx.port), 30) as connection:
        connection.sendall(sent)
        try:
            while part := connection.recv(4096):
                received += part
        except ConnectionResetError:
            pass
    return received


SLOW = {
    "headers": b"GET /posts HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    "body": b"POST /posts HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nnot yet",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", SLOW)
async def test_a_slow_client_is_cut_off_and_never_reaches_the_service(
    nginx: Nginx, upstream: Upstream, kind: str
) -> None:
    received = await asyncio.to_thread(cut_off, nginx, SLOW[kind])
    assert b" 200 " not in received
    assert upstream.requests == 0


async def test_a_body_is_the_services_to_refuse_up_to_a_point(client: httpx2.AsyncClient, upstream: Upstream) -> None:
    assert (await client.post("/posts", content=b"x" * 1_500_000)).json()["bytes"] == 1_500_000
    refused = await client.post("/posts", content=b"x" * 2_500_000)
    assert refused.status_code == 413
    assert refused.headers["content-type"] == "application/json"
    assert refused.json()["code"] == "PAYLOAD_TOO_LARGE"
    assert upstream.requests == 1


async def test_no_query_is_logged(client: httpx2.AsyncClient, nginx: Nginx) -> None:
    await client.get("/posts?token=canary", headers={"X-Request-ID": "logged"})
    lines = [json.loads(line) for line in nginx.access_log.splitlines()]
    assert [(line["request_id"], line["path"], line["status"]) for line in lines] == [("logged", "/posts", 200)]
    assert "canary" not in nginx.access_log


async def test_an_instance_that_is_gone_is_passed_over_whatever_the_method(upstream: Upstream) -> None:
    async with running_app(upstream.app) as url:
        with Nginx.started(free_port(), int(url.rpartition(":")[2])) as nginx:
            async with httpx2.AsyncClient(base_url=nginx.url, timeout=30) as client:
                for method in ["GET", "POST"] * 10:
                    assert (await client.request(method, "/posts", content=b"x")).status_code == 200
    assert upstream.requests == 20


class Breaking:
    """An instance that takes requests and dies of them."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.methods.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[0].decode())
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(("method", "tried"), [("GET", 2), ("POST", 1)])
async def test_a_request_that_was_sent_is_sent_again_only_when_that_does_no_harm(method: str, tried: int) -> None:
    first, second = Breaking(), Breaking()
    async with (
        await asyncio.start_server(first, "127.0.0.1", 0) as one,
        await asyncio.start_server(second, "127.0.0.1", 0) as two,
    ):
        ports: list[Any] = [server.sockets[0].getsockname()[1] for server in (one, two)]
        with Nginx.started(*ports) as nginx:
            async with httpx2.AsyncClient(base_url=nginx.url, timeout=30) as client:
                answer = await client.request(method, "/posts", headers={"X-Request-ID": "asked"})
    assert first.methods + second.methods == [method] * tried
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {
        "detail": "The service is not available",
        "code": "SERVICE_UNAVAILABLE",
        "request_id": "asked",
    }
