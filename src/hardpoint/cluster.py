"""Addresses of a Valkey or Redis cluster, for which the client library has no notation of its own."""

from dataclasses import dataclass
from typing import Final

from hardpoint.sentinel import host_and_port, split_url

__all__ = ["CLUSTER_SCHEMES", "ClusterAddress", "parse_cluster_url"]

CLUSTER_SCHEMES: Final = ("redis+cluster", "rediss+cluster", "valkey+cluster", "valkeys+cluster")
_PORT: Final = 6_379


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where to find a cluster.

    Attributes:
        nodes: Some nodes' hosts and ports; the others are learnt from them.
        username: Of every node.
        password: Of every node.
        tls: Whether they speak TLS.
    """

    nodes: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    tls: bool


def parse_cluster_url(url: str) -> ClusterAddress:
    """Read `valkey+cluster://[user:password@]host[:port],host[:port]`.

    Raises:
        ValueError: It cannot be read; the text repeats nothing of it.
    """
    parts = split_url(url)
    if parts is None or parts.scheme not in CLUSTER_SCHEMES or parts.path not in {"", "0"}:
        raise ValueError(
            f"must begin with one of {', '.join(CLUSTER_SCHEMES)} and name nodes; a cluster has database 0"
        )
    return ClusterAddress(
        nodes=tuple(host_and_port(host, default=_PORT) for host in parts.hosts),
        username=parts.username,
        password=parts.password,
        tls=parts.scheme in {"rediss+cluster", "valkeys+cluster"},
    )
