"""Who is limited together."""

from ipaddress import IPv6Address, ip_address, ip_network

from starlette.types import Scope

__all__ = ["address_key"]

_IPV6_PREFIX = 64


def address_key(scope: Scope) -> str:
    """The client's address: an IPv4 one as it is, of an IPv6 one its /64, which is what one customer gets.

    Behind a proxy this is the client's only inside of `ClientAddressMiddleware`.
    """
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ip_address(host)
    except ValueError:
        return f"address:{host}"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return f"address:{address.ipv4_mapped}"
        return f"address:{ip_network((address, _IPV6_PREFIX), strict=False)}"
    return f"address:{address}"
