"""Who is limited together. `hardpoint.auth.by_principal` tells users and API keys apart."""

from collections.abc import Callable
from inspect import Parameter, iscoroutinefunction, signature
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from starlette.requests import HTTPConnection
from starlette.types import Scope

from hardpoint.ratelimit.rate import MAX_PLAIN_KEY
from hardpoint.scope import route_methods, route_template

__all__ = [
    "AddressKey",
    "Key",
    "address_key",
    "by_address",
    "by_address_and_route",
    "by_network",
    "by_nothing",
    "by_route",
    "host_of",
    "is_async",
    "needs_connection_only",
    "needs_route",
]

Key = Callable[..., object]
"""A function of the `HTTPConnection` alone, or any other dependency, that gives a text."""

_IPV4_BITS: Final = 32
_IPV6_BITS: Final = 128
_IPV6_PREFIX: Final = 64
# RFC 6052, section 2.1: what a server of IPv6 alone sees of a client of IPv4 alone.
_NAT64: Final = IPv6Network("64:ff9b::/96")


def address_key(host: str, *, ipv4_prefix: int = _IPV4_BITS, ipv6_prefix: int = _IPV6_PREFIX) -> str:
    """What is limited together with the address `host`: of an IPv6 one its network, which is what one customer gets.

    An IPv4 address in the clothes of an IPv6 one (mapped, 6to4, NAT64) counts as the IPv4 one; a zone does not count;
    anything else is its own text.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host
    address = _without_clothes(address)
    if isinstance(address, IPv6Address):
        # Not of the text: a network has no zone.
        return str(ip_network((address.packed, ipv6_prefix), strict=False))
    return str(address) if ipv4_prefix == _IPV4_BITS else str(ip_network((address.packed, ipv4_prefix), strict=False))


class AddressKey:
    """A key: each network of clients; made by `by_network`.

    What holds one may ask it for the key of an address, and remember that: reading an address takes longer than
    charging it.
    """

    def __init__(self, ipv4_prefix: int, ipv6_prefix: int) -> None:
        self._ipv4_prefix = ipv4_prefix
        self._ipv6_prefix = ipv6_prefix

    async def __call__(self, connection: HTTPConnection) -> str:
        return self.of_scope(connection.scope)

    def of_scope(self, scope: Scope) -> str:
        """The key of the client in a scope."""
        return self.of_host(host_of(scope))

    def of_host(self, host: str) -> str:
        """The key of an address."""
        return f"address:{address_key(host, ipv4_prefix=self._ipv4_prefix, ipv6_prefix=self._ipv6_prefix)}"

    def __repr__(self) -> str:
        return f"by_network(ipv4_prefix={self._ipv4_prefix}, ipv6_prefix={self._ipv6_prefix})"


def by_network(*, ipv4_prefix: int = _IPV4_BITS, ipv6_prefix: int = _IPV6_PREFIX) -> AddressKey:
    """A key: each network of clients. Providers that give each customer a /56 or a /48 want that as `ipv6_prefix`.

    Args:
        ipv4_prefix: Bits of an IPv4 address that count, 1 to 32.
        ipv6_prefix: Bits of an IPv6 address that count, 1 to 128.

    Raises:
        ValueError: A prefix is out of its range.
    """
    if not 1 <= ipv4_prefix <= _IPV4_BITS or not 1 <= ipv6_prefix <= _IPV6_BITS:
        raise ValueError("A prefix is 1 to 32 bits of an IPv4 address and 1 to 128 of an IPv6 one")
    return AddressKey(ipv4_prefix, ipv6_prefix)


by_address: Final = by_network()
"""A key: each client address, of an IPv6 one its /64.

Behind a proxy it is the client's only inside of `ClientAddressMiddleware`. Clients of a Unix socket have none, and are
limited together.
"""


async def by_route(connection: HTTPConnection) -> str:
    """All clients together on each route, by its template.

    However its path is spelt or its parameters are filled, and whichever of its methods is used, it is the same bucket.
    Only as a dependency: outside of the router nobody knows the route yet.
    """
    return f"route:{_route(connection)}"


async def by_address_and_route(connection: HTTPConnection) -> str:
    """Each client address on each route; only as a dependency."""
    return f"{by_address.of_scope(connection.scope)} route:{_route(connection)}"


async def by_nothing(connection: HTTPConnection) -> str:  # noqa: ARG001 - a key takes the connection.
    """Everybody together."""
    return "all"


def host_of(scope: Scope) -> str:
    """The client's address in a scope; nothing for a client of a Unix socket.

    A server that trusts everybody's headers gives texts of any length, of which nobody should remember more than this.
    """
    client = scope.get("client")
    host: str = client[0] if client else ""
    return host if len(host) <= MAX_PLAIN_KEY else host[:MAX_PLAIN_KEY]


def needs_connection_only(key: Key) -> bool:
    """Whether `key` can be called with the `HTTPConnection`, without resolving dependencies, as a middleware must."""
    try:
        parameters = list(signature(key, eval_str=True).parameters.values())
    except NameError:
        return False  # An annotation for type checkers alone is not `HTTPConnection` here.
    if len(parameters) != 1 or parameters[0].kind not in {
        Parameter.POSITIONAL_ONLY,
        Parameter.POSITIONAL_OR_KEYWORD,
    }:
        return False
    # A default would be FastAPI's `Depends(...)`, `Header(...)` and so on, or that of a query parameter.
    annotation, default = parameters[0].annotation, parameters[0].default
    takes_connection = annotation is Parameter.empty or (
        isinstance(annotation, type) and issubclass(annotation, HTTPConnection)
    )
    return takes_connection and default is Parameter.empty


def needs_route(key: Key) -> bool:
    """Whether `key` asks for the route, which nobody knows outside of the router."""
    return key in {by_route, by_address_and_route}


def is_async(key: Key) -> bool:
    """Whether calling `key` gives an awaitable: an `async def`, or an object whose `__call__` is one."""
    return iscoroutinefunction(key) or iscoroutinefunction(getattr(key, "__call__", None))  # noqa: B004 - for its kind.


def _without_clothes(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    return IPv4Address(address.packed[-4:]) if address in _NAT64 else address


def _route(connection: HTTPConnection) -> str:
    scope = connection.scope
    template = route_template(scope)
    if template is not None:
        return f"{','.join(sorted(route_methods(scope))) or 'WEBSOCKET'} {template}"
    # A plain Starlette route tells its endpoint alone.
    endpoint: Any = scope.get("endpoint")
    if endpoint is None:
        raise RuntimeError("Only a dependency can limit by route; a middleware stands outside of the router")
    named = endpoint if hasattr(endpoint, "__qualname__") else type(endpoint)
    return f"{named.__module__}.{named.__qualname__}"
