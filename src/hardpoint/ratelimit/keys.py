"""Who is limited together. `hardpoint.auth.by_principal` tells users and API keys apart."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

__all__ = ["Key", "address_key", "by_address", "by_address_and_route", "by_nothing", "by_route"]

Key = Callable[..., object]
"""A function of the `HTTPConnection` alone, or any other dependency, that gives a text."""

_IPV6_PREFIX = 64


@lru_cache(maxsize=4_096)  # Reading an address takes longer than charging it.
def address_key(host: str, *, ipv6_prefix: int = _IPV6_PREFIX) -> str:
    """An IPv4 address as it is, of an IPv6 one its network, which is what one customer gets; anything else as text."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address.packed, ipv6_prefix), strict=False))
    return str(address)


async def by_address(connection: HTTPConnection) -> str:
    """Each client address, of an IPv6 one its /64.

    Behind a proxy it is the client's only inside of `ClientAddressMiddleware`.
    """
    return f"address:{_host(connection)}"


async def by_route(connection: HTTPConnection) -> str:
    """All clients together on each route, by its endpoint: however its path is spelt or its parameters are filled.

    Only as a dependency: outside of the router nobody knows the route yet.
    """
    return f"route:{_route(connection)}"


async def by_address_and_route(connection: HTTPConnection) -> str:
    """Each client address on each route; only as a dependency."""
    return f"address:{_host(connection)} route:{_route(connection)}"


async def by_nothing(connection: HTTPConnection) -> str:  # noqa: ARG001 - a key takes the connection.
    """Everybody together."""
    return "all"


def _host(connection: HTTPConnection) -> str:
    return address_key(connection.client.host if connection.client is not None else "")


def _route(connection: HTTPConnection) -> str:
    endpoint = connection.scope.get("endpoint")
    if endpoint is None:
        raise RuntimeError("Only a dependency can limit by route; a middleware stands outside of the router")
    return f"{connection.scope.get('method', 'WEBSOCKET')} {endpoint.__module__}.{endpoint.__qualname__}"
