"""A link of a chain that is asked for instead of declared: overrides reach it as they reach a parameter."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.dependencies.utils import get_dependant
from fastapi.testclient import TestClient
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect

from hardpoint.resolving import Overrides, has_overrides, link, resolved


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


def test_an_override_is_called_once_in_a_request_however_many_ask(app: FastAPI, client: TestClient) -> None:
    calls: list[str] = []

    async def elsewhere() -> str:
        calls.append("called")
        return f"Hello {len(calls)}"

    async def asks_too(connection: HTTPConnection) -> str:
        return await link(connection, greeting, "Ben")

    @app.get("/both")
    async def both(one: Asked, other: Annotated[str, Depends(asks_too)]) -> list[str]:
        return [one, other]

    assert client.get("/both").json() == ["Hello Ann", "Hello Ben"]
    app.dependency_overrides[greeting] = elsewhere
    assert client.get("/both").json() == ["Hello 1", "Hello 1"]
    assert client.get("/both").json() == ["Hello 2", "Hello 2"]


async def test_what_is_resolved_inside_of_a_connection_asks_anew() -> None:
    calls: list[str] = []

    async def elsewhere() -> str:
        calls.append("called")
        return str(len(calls))

    async def function(found: Asked) -> None: ...

    scope = {"type": "http", "headers": [], "query_string": b"", "hardpoint.given": {greeting: "of the connection"}}
    dependant = get_dependant(path="/", call=function)
    for expected in ["1", "2"]:
        async with resolved(dependant, scope, overrides=Overrides({greeting: elsewhere})) as values:
            assert values == {"found": expected}


def test_whether_anything_is_replaced() -> None:
    app = FastAPI()
    assert not has_overrides(HTTPConnection({"type": "http", "app": app}))
    assert not has_overrides(HTTPConnection({"type": "http"}))
    app.dependency_overrides[greeting] = asks
    assert has_overrides(HTTPConnection({"type": "http", "app": app}))
    overrides = Overrides({greeting: asks})
    assert has_overrides(HTTPConnection({"type": "http", "hardpoint.overrides": overrides}))
