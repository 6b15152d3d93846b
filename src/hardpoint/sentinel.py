"""Addresses of Valkey or Redis behind Sentinel, for which the client library has no notation of its own."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

__all__ = ["SENTINEL_SCHEMES", "SentinelAddress", "host_and_port", "parse_sentinel_url"]

SENTINEL_SCHEMES: Final = ("redis+sentinel", "rediss+sentinel", "valkey+sentinel", "valkeys+sentinel")
_PORT: Final = 26_379
_MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Who to ask, and for what.

    Attributes:
        sentinels: The sentinels' hosts and ports.
        service: What they call the primary.
        database: The number of the database.
        username: Of the primary, not of the sentinels.
        password: Of the primary, not of the sentinels.
        tls: Whether the primary speaks TLS.
    """

    sentinels: tuple[tuple[str, int], ...]
    service: str
    database: int
    username: str | None
    password: str | None
    tls: bool


def parse_sentinel_url(url: str) -> SentinelAddress:
    """Read `valkey+sentinel://[user:password@]host[:port],host[:port]/service[/database]`.

    Raises:
        ValueError: It cannot be read; the text repeats nothing of it.
    """
    parts = urlsplit(url)
    if parts.scheme not in SENTINEL_SCHEMES or parts.query or parts.fragment:
        raise ValueError(f"must begin with one of {', '.join(SENTINEL_SCHEMES)} and have no query")
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or (database and not database.isdecimal()):
        raise ValueError("must end with /service or /service/database")
    return SentinelAddress(
        sentinels=tuple(host_and_port(host, default=_PORT) for host in hosts.split(",")),
        service=unquote(service),
        database=int(database or 0),
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=parts.scheme in {"rediss+sentinel", "valkeys+sentinel"},
    )


def host_and_port(text: str, *, default: int) -> tuple[str, int]:
    """Read `host`, `host:port` or `[address]:port`.

    Raises:
        ValueError: It cannot be read.
    """
    address = urlsplit(f"//{text}")
    try:
        port = default if address.port is None else address.port
    except ValueError:
        port = 0
    if not address.hostname or not 0 < port <= _MAX_PORT:
        raise ValueError("has a host or a port that cannot be read")
    return address.hostname, port
