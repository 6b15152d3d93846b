"""Who really sent the request, when a proxy stands in front."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import ASGIApp, Scope

from hardpoint.asgi import Exchange, Part, header_values
from hardpoint.texts import texts

__all__ = ["ClientAddressMiddleware"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# With brackets, a zone and a port; whatever is longer is not worth remembering.
_LONGEST_ADDRESS: Final = 80


class ClientAddressMiddleware(Part):
    """Set `scope["client"]` and `scope["scheme"]` from `X-Forwarded-For` and `X-Forwarded-Proto` of trusted proxies.

    The forwarding headers count only when the peer itself is trusted. `X-Forwarded-For` is read from the right, where
    our own proxies wrote, past every trusted address, to the first that is not: what stands further left is whatever
    the client sent. Text that is no address ends the walk. Without trusted proxies nothing is changed, so this is safe
    to leave in.

    Run the server without its own handling of these headers (`uvicorn --no-proxy-headers`; `hardpoint serve` does).

    Args:
        app: The application inside.
        trusted: Addresses and networks (`10.0.0.0/8`, `::1`) of proxies; `unix` trusts the peer on a Unix socket.

    Raises:
        ValueError: An entry is neither an address nor a network.
    """

    kinds = frozenset({"http", "websocket"})

    def __init__(self, app: ASGIApp, *, trusted: Collection[str] = ()) -> None:
        super().__init__(app)
        entries = texts("trusted", trusted)
        self._trust_unix = "unix" in entries
        self._networks = [_network(entry) for entry in entries if entry != "unix"]

    def on_request(self, exchange: Exchange) -> None:
        """Find the client."""
        scope = exchange.scope
        peer = scope["client"][0] if scope.get("client") else ""
        address = _address(peer)
        if self._is_trusted_peer(peer, address):
            self._apply(scope, address)
        elif address is not None and str(address) != peer:
            scope["client"] = (str(address), scope["client"][1])

    def _is_trusted_peer(self, peer: str, address: Address | None) -> bool:
        if address is None:
            return self._trust_unix and not peer
        return self._is_trusted(address)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _apply(self, scope: Scope, peer: Address | None) -> None:
        client = peer
        for entry in _from_the_right(header_values(scope, b"x-forwarded-for")):
            address = _address(entry)
            if address is None:
                break
            client = address
            if not self._is_trusted(address):
                break
        if client is not None:
            # The port of the original connection is not known.
            scope["client"] = (str(client), 0)
        schemes = list(_from_the_right(header_values(scope, b"x-forwarded-proto")))
        if schemes and schemes[0].lower() in {"http", "https"}:
            secure = schemes[0].lower() == "https"
            if scope["type"] == "websocket":
                scope["scheme"] = "wss" if secure else "ws"
            else:
                scope["scheme"] = "https" if secure else "http"


def _from_the_right(values: Iterable[bytes]) -> Iterable[str]:
    # Repeated header lines are one list (RFC 9110, section 5.3).
    entries = b",".join(values).decode("latin-1").split(",")
    return (entry.strip() for entry in reversed(entries) if entry.strip())


def _network(entry: str) -> Network:
    try:
        return ip_network(entry, strict=False)
    except ValueError as error:
        raise ValueError(f"{entry!r} is neither an address nor a network") from error


def _address(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; a v4-mapped IPv6 address counts as its IPv4 one.

    A zone, which may be any text and says something to that host alone, does not count.
    """
    return _read_address(text) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=4_096)  # A request's peer is one of few, and parsing it takes longer than the rest.
def _read_address(text: str) -> Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(address.packed)
    return address
