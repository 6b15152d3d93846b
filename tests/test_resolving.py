"""A link of a chain that is asked for instead of declared: overrides reach it as they reach a parameter."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect

from hardpoint.resolving import link


async def greeting(name: str) -> str:
    return f"Hello {name}"


async def asks(connection: HTTPConnection) -> str:
    return await link(connection, greeting, "Ann")


Asked = Annotated[str, Depends(asks)]


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()

    @app.get("/rooms/{room}")  # noqa: FAST003 - what overrides the link reads it.
    async def read(found: Asked) -> str:
        return found

    @app.websocket("/rooms/{room}")
    async def talk(websocket: WebSocket, found: Asked) -> None:
        await websocket.accept()
        await websocket.send_text(found)
        await websocket.close()

    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def heard(client: TestClient, path: str) -> str:
    with client.websocket_connect(path) as socket:
        return socket.receive_text()


def test_without_an_override_it_is_called(client: TestClient) -> None:
    assert client.get("/rooms/7").json() == "Hello Ann"
    assert heard(client, "/rooms/7") == "Hello Ann"


def test_an_override_has_parameters_and_dependencies_of_its_own(app: FastAPI, client: TestClient) -> None:
    closed: list[str] = []

    async def opened() -> AsyncIterator[str]:
        yield "opened"
        closed.append("closed")

    async def elsewhere(room: int, loud: bool, state: Annotated[str, Depends(opened)]) -> str:
        return f"{state} {room} {loud}"

    app.dependency_overrides[greeting] = elsewhere
    assert client.get("/rooms/7?loud=yes").json() == "opened 7 True"
    assert heard(client, "/rooms/7?loud=no") == "opened 7 False"
    assert closed == ["closed", "closed"]


def test_what_an_override_misses_is_told_as_of_any_parameter(app: FastAPI, client: TestClient) -> None:
    async def elsewhere(room: int) -> str:
        return str(room)

    app.dependency_overrides[greeting] = elsewhere
    wrong = client.get("/rooms/x")
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["path", "room"])
    with pytest.raises(WebSocketDisconnect) as closing:
        heard(client, "/rooms/x")
    assert closing.value.code == 1008
