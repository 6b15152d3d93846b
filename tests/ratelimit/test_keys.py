"""Who is limited together: addresses and networks, routes, and what is no key."""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.datastructures import Address
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.routing import Route

from hardpoint.ratelimit import address_key, by_address, by_address_and_route, by_network, by_nothing, by_route
from hardpoint.ratelimit.keys import is_async, needs_connection_only
from support.asgi import http_scope


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::FFFF:cb00:7109", "203.0.113.9"),
        ("2002:cb00:7109::1", "203.0.113.9"),
        ("2002:cb00:7109:ffff::1", "203.0.113.9"),
        ("64:ff9b::203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:0db8:0001:0002:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("fe80::1%eth1", "fe80::/64"),
        ("testclient", "testclient"),
        ("010.0.0.1", "010.0.0.1"),
        ("", ""),
    ],
)
def test_an_address_is_its_host_or_its_network(host: str, key: str) -> None:
    assert address_key(host) == key


@pytest.mark.parametrize(
    ("prefixes", "host", "key"),
    [
        ({"ipv6_prefix": 48}, "2001:db8:1:2::5", "address:2001:db8:1::/48"),
        ({"ipv6_prefix": 128}, "2001:db8:1:2::5", "address:2001:db8:1:2::5/128"),
        ({"ipv4_prefix": 24}, "203.0.113.9", "address:203.0.113.0/24"),
        ({"ipv4_prefix": 24}, "::ffff:203.0.113.9", "address:203.0.113.0/24"),
        ({"ipv6_prefix": 48}, "203.0.113.9", "address:203.0.113.9"),
    ],
)
async def test_a_network_may_be_wider(prefixes: dict[str, int], host: str, key: str) -> None:
    network = by_network(**prefixes)
    assert await network(HTTPConnection(http_scope(client=(host, 1)))) == key


@pytest.mark.parametrize(
    "prefixes", [{"ipv4_prefix": 0}, {"ipv4_prefix": 33}, {"ipv6_prefix": 0}, {"ipv6_prefix": 129}]
)
def test_a_prefix_that_cannot_be_is_refused(prefixes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="prefix"):
        by_network(**prefixes)


@pytest.mark.parametrize(
    ("client", "key"),
    [
        (None, "address:"),
        (Address("203.0.113.9", 1), "address:203.0.113.9"),
        (["203.0.113.9", 1], "address:203.0.113.9"),
        (("x" * 100_000, 1), f"address:{'x' * 64}"),
    ],
)
async def test_a_server_may_tell_the_client_as_it_likes(client: Any, key: str) -> None:
    assert await by_address(HTTPConnection(http_scope(client=client))) == key
    without = http_scope()
    del without["client"]
    assert by_address.of_scope(without) == "address:"


class Endpoint:
    async def __call__(self, key: Annotated[str, Depends(by_route)]) -> str:
        return key


async def plain(request: Request) -> JSONResponse:
    return JSONResponse(await by_route(request))


class PlainEndpoint:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse(await by_route(HTTPConnection(scope)))(scope, receive, send)


def make_app() -> FastAPI:
    async def found(key: Annotated[str, Depends(by_route)]) -> str:
        return key

    router = APIRouter(prefix="/things")
    router.add_api_route("/{thing}", found, methods=["POST", "GET"])
    inner = FastAPI()
    inner.include_router(router)

    app = FastAPI(redirect_slashes=False)
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2")
    app.add_api_route("/object", Endpoint())
    app.add_api_route("/partial/{number}", functools.partial(found))
    app.mount("/mounted", inner)
    app.mount("/of/{tenant}", inner)
    app.router.routes += [Route("/plain/{name}", plain), Route("/plain-object", PlainEndpoint())]

    @app.websocket("/socket/{name}")
    async def socket(websocket: WebSocket, key: Annotated[str, Depends(by_route)]) -> None:
        await websocket.accept()
        await websocket.send_text(key)
        await websocket.close()

    return app


@pytest.mark.parametrize(
    ("method", "path", "key"),
    [
        ("GET", "/v1/things/1", "route:GET,POST /v1/things/{thing}"),
        ("GET", "/v1/things/%2e%2e", "route:GET,POST /v1/things/{thing}"),
        ("GET", "/v1/things/1?a=b", "route:GET,POST /v1/things/{thing}"),
        ("GET", "/v1/thing%73/1", "route:GET,POST /v1/things/{thing}"),
        # Another method of the same route is no way around.
        ("POST", "/v1/things/2", "route:GET,POST /v1/things/{thing}"),
        ("GET", "/v2/things/1", "route:GET,POST /v2/things/{thing}"),
        ("GET", "/object", "route:GET /object"),
        ("GET", "/partial/7", "route:GET /partial/{number}"),
        ("GET", "/mounted/things/1", "route:GET,POST /mounted/things/{thing}"),
        # Of a mount with parameters only their values are known, and those a client chooses.
        ("GET", "/of/me/things/1", "route:GET,POST /things/{thing}"),
        ("GET", "/of/you/things/1", "route:GET,POST /things/{thing}"),
        ("GET", "/plain/1", f"route:{__name__}.plain"),
        ("GET", "/plain/2", f"route:{__name__}.plain"),
        ("GET", "/plain-object", f"route:{__name__}.PlainEndpoint"),
    ],
)
def test_a_route_is_known_by_its_template(method: str, path: str, key: str) -> None:
    with TestClient(make_app()) as client:
        assert client.request(method, path).json() == key


def test_a_sockets_route_is_known_by_its_template() -> None:
    with TestClient(make_app()) as client, client.websocket_connect("/socket/1") as socket:
        assert socket.receive_text() == "route:WEBSOCKET /socket/{name}"


async def test_nobody_knows_the_route_outside_of_the_router() -> None:
    with pytest.raises(RuntimeError, match="outside of the router"):
        await by_route(HTTPConnection(http_scope()))


async def by_header(connection: HTTPConnection, x_name: Annotated[str, Header()]) -> str:
    return x_name


async def by_default(connection: HTTPConnection = None) -> str:  # type: ignore[assignment]
    return ""


async def by_name(name: str) -> str:
    return name


async def by_dependency(key: Annotated[str, Depends(by_address)]) -> str:
    return key


async def by_unknown(connection: "OnlyForTypeCheckers") -> str:  # type: ignore[name-defined] # noqa: F821
    return ""


async def by_keyword(*, connection: HTTPConnection) -> str:
    return ""


async def by_request(request: Request) -> str:
    return ""


async def by_quoted(connection: "HTTPConnection") -> str:
    return ""


class ByObject:
    async def __call__(self, connection: HTTPConnection) -> str:
        return ""


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (by_address, True),
        (by_nothing, True),
        (by_address_and_route, True),
        (by_request, True),
        (by_quoted, True),
        (ByObject(), True),
        (lambda connection: connection.client.host, True),
        (by_header, False),
        (by_default, False),
        (by_name, False),
        (by_dependency, False),
        (by_unknown, False),
        (by_keyword, False),
        (lambda: "all", False),
    ],
)
def test_a_key_is_asked_directly_only_if_it_needs_the_connection_alone(
    key: Callable[..., object], expected: bool
) -> None:
    assert needs_connection_only(key) is expected


def test_a_key_is_awaited_whatever_kind_of_coroutine_function_it_is() -> None:
    assert [is_async(key) for key in (by_address, by_nothing, ByObject(), functools.partial(by_nothing))] == [True] * 4
    assert not is_async(lambda connection: "")
