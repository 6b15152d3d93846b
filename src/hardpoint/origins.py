"""Origins as browsers write them: scheme, host and, unless it is the scheme's own, port (RFC 6454, section 6.2)."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from hardpoint.texts import texts

__all__ = ["origin_of", "origins", "read_origin"]

_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s@\\*]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_REMEMBERED: Final = 1_024


def origin_of(address: str) -> str:
    """The origin of an address's pages: `https://example.com` of `https://Example.com:443/app`.

    Raises:
        ValueError: The address has no host, one that is not ASCII, or a port that cannot be read.
    """
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if not host or port == 0:
        raise ValueError("has a port, or a host, that cannot be read")
    if not host.isascii():
        raise ValueError("has a host that is not ASCII; write it as browsers send it, xn--...")
    shown_port = "" if port is None or port == _DEFAULT_PORTS.get(scheme) else f":{port}"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{shown_port}"


@lru_cache(_REMEMBERED)
def read_origin(text: str) -> str:
    """The origin that `text` is, as browsers send it, whatever the case of its letters and with or without its port.

    Raises:
        ValueError: It is none, such as an address with a path, `*` or `null`; says why, without the text.
    """
    # Remembered, because a request with a cookie asks for it.
    if not _ORIGIN.fullmatch(text):
        raise ValueError("is not an origin")
    return origin_of(text)


def origins(name: str, given: Collection[str]) -> frozenset[str]:
    """The origins of an option, each as browsers send it.

    Raises:
        ValueError: It is one text, or has an entry that is no origin.
    """
    found: set[str] = set()
    for entry in texts(name, given):
        try:
            found.add(read_origin(entry))
        except ValueError as error:
            message = f"{name}: {entry!r} {error}; write it as scheme://host[:port], without a path"
            raise ValueError(message) from None
    return frozenset(found)
