"""Addresses of Valkey or Redis behind Sentinel, for which the client library has no notation of its own."""

from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["SENTINEL_SCHEMES", "SentinelAddress", "UrlParts", "host_and_port", "parse_sentinel_url", "split_url"]

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
    parts = split_url(url)
    if parts is None or parts.scheme not in SENTINEL_SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(SENTINEL_SCHEMES)} and have no query")
    service, _, database = parts.path.partition("/")
    if not service or (database and not database.isdecimal()):
        raise ValueError("must end with /service or /service/database")
    return SentinelAddress(
        sentinels=tuple(host_and_port(host, default=_PORT) for host in parts.hosts),
        service=unquote(service),
        database=int(database or 0),
        username=parts.username,
        password=parts.password,
        tls=parts.scheme in {"rediss+sentinel", "valkeys+sentinel"},
    )


class UrlParts(NamedTuple):
    """What a URL with several hosts says.

    Attributes:
        scheme: In lower case.
        username: As it was before it was quoted.
        password: As it was before it was quoted.
        hosts: As they stand there.
        path: Without slashes around it.
    """

    scheme: str
    username: str | None
    password: str | None
    hosts: list[str]
    path: str


def split_url(url: str) -> UrlParts | None:
    """The parts of `url`, or `None` when it has a query or a fragment.

    Not by `urlsplit`, which from Python 3.14 on takes brackets in a list of hosts for a bad address, and whose errors
    repeat the password.
    """
    scheme, _, rest = url.partition("://")
    if "?" in rest or "#" in rest:
        return None
    authority, _, path = rest.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    return UrlParts(
        scheme.lower(), unquote(username) or None, unquote(password) or None, hosts.split(","), path.strip("/")
    )


def host_and_port(text: str, *, default: int) -> tuple[str, int]:
    """Read `host`, `host:port` or `[address]:port`.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        address = urlsplit(f"//{text}")
        host, port = address.hostname, default if address.port is None else address.port
    except ValueError:
        host, port = None, 0
    if not host or not 0 < port <= _MAX_PORT:
        raise ValueError("has a host or a port that cannot be read")
    return host, port
