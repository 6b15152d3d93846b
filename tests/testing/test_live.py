"""Following channels in a test."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from hardpoint.lifespan import Lifespan, Resource
from hardpoint.realtime import Channels, Realtime, open_hub, realtime_router
from hardpoint.testing import live_socket

channels = Channels()


@channels.channel("news")
async def news() -> None:
    """For anybody."""


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = FastAPI(lifespan=Lifespan(Resource("realtime", lambda _: open_hub(channels))))
    app.include_router(realtime_router())

    @app.post("/publish")
    async def publish(number: int, realtime: Realtime) -> None:
        await realtime.publish("news", {"number": number})

    with TestClient(app) as started:
        yield started


def test_what_a_route_publishes_is_received(client: TestClient) -> None:
    with live_socket(client) as live:
        start = live.subscribe("news")["offset"]
        client.post("/publish?number=1")
        assert live.data() == {"number": 1}
        live.send(type="ping")
        assert live.receive() == {"type": "pong"}
        assert live.subscribe("news", start)["recovered"]
        assert live.data() == {"number": 1}


def test_another_answer_than_expected_fails_the_test(client: TestClient) -> None:
    with live_socket(client) as live:
        with pytest.raises(AssertionError, match="NOT_FOUND"):
            live.subscribe("unknown")
        live.send(type="ping")
        with pytest.raises(AssertionError, match="pong"):
            live.data()


def test_a_close_is_an_exception_with_its_code(client: TestClient) -> None:
    with live_socket(client) as live:
        live.send(type="x" * 70_000)
        with pytest.raises(WebSocketDisconnect) as closed:
            live.receive()
        assert closed.value.code == 1009


def test_what_never_comes_fails_the_test_instead_of_hanging_it(client: TestClient) -> None:
    with live_socket(client, timeout_seconds=0.1) as live:
        live.subscribe("news")
        with pytest.raises(AssertionError, match="Nothing came"):
            live.receive()
        client.post("/publish?number=2")
        assert live.data() == {"number": 2}
