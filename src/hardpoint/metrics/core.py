"""The measurements of one application: a registry of its own, and what is read at each scrape."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import chain
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from hardpoint import __version__
from hardpoint.log import get_logger, instance_name
from hardpoint.metrics import multiprocess

__all__ = ["Metrics", "Read"]

Read = Callable[[], Iterable[Metric] | Awaitable[Iterable[Metric]]]
"""Gives families of samples as they are now; may be async."""

logger = get_logger("hardpoint.metrics")

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What one application measures; `render` is what a scrape gets.

    Args:
        registry: Where instruments and collectors are registered; a new one by default, so that two applications in one
            process, or two tests, share nothing.
        instance: What `hardpoint_info` calls this instance. Not a label `instance` on everything, which is Prometheus's
            own: the address that it scraped.
        version: The application's version in `hardpoint_info`.
        timeout_seconds: After which what is read at a scrape counts as failed.

    Raises:
        ValueError: `timeout_seconds` is not more than 0.

    Attributes:
        registry: For instruments and collectors of your own.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None = None,
        instance: str | None = None,
        version: str = __version__,
        timeout_seconds: float = 2.0,
    ) -> None:
        if not timeout_seconds > 0:
            raise ValueError("timeout_seconds must be more than 0")
        self.registry = CollectorRegistry() if registry is None else registry
        self._timeout_seconds = timeout_seconds
        self._reads: dict[str, tuple[Read, bool]] = {}
        self._requests = Counter(
            "hardpoint_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self._durations = Histogram(
            "hardpoint_http_request_duration_seconds",
            "From a request's arrival to the end of its answer",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "hardpoint_http_requests_in_flight",
            "Requests being answered",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.decisions = Counter(
            "hardpoint_limit_decisions", "What rate limits decided", ["policy", "decision"], registry=self.registry
        )
        # `labels()` takes a lock and builds strings; a request needs one look-up instead.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        ProcessCollector(registry=self.registry)
        info = {"version": version, "instance_name": instance or instance_name()}
        self.add("info", lambda: [InfoMetricFamily("hardpoint", "This instance", info)])

    def add(self, name: str, read: Read, *, shared: bool = False) -> None:
        """Call `read` at each scrape.

        One that fails or takes too long is logged, left out, and 0 in `hardpoint_source_up`; the others are told.

        Args:
            name: What it is called in `hardpoint_source_up`.
            read: Gives the families.
            shared: Whether every process would tell the same, as of a table in the database. What only this process
                knows gets a label `pid` where several processes share an address.

        Raises:
            ValueError: The name is taken.
            TypeError: `read` is no function.
        """
        if not callable(read):
            raise TypeError(f"{name}: {read!r} is no function; write one that gives the families at each scrape")
        if name in self._reads:
            raise ValueError(f"{name!r} is read already")
        self._reads[name] = (read, shared)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (method, route, status)
        children = self._children.get(key)
        if children is None:
            requests = self._requests.labels(method=method, route=route, status=str(status))
            children = self._children[key] = (requests, self._durations.labels(method=method, route=route))
        children[0].inc()
        children[1].observe(seconds)

    async def render(self) -> bytes:
        """Everything in Prometheus's text format, version 0.0.4."""
        names = list(self._reads)
        results = await asyncio.gather(*(self._read(name) for name in names))
        up = GaugeMetricFamily("hardpoint_source_up", "Whether it could be read at this scrape", labels=["source"])
        families: list[Metric] = [up]
        for name, result in zip(names, results, strict=True):
            up.add_metric([name], float(result is not None))
            families += result or []
        several = multiprocess.is_on()
        own = multiprocess.merged(self.registry) if several else self.registry.collect()
        return generate_latest(_Collected(chain(own, families)))

    async def _read(self, name: str) -> list[Metric] | None:
        read, shared = self._reads[name]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                result = read()
                families = list(await result if inspect.isawaitable(result) else result)
        except Exception as error:  # noqa: BLE001 - one that fails must not hide the others.
            logger.warning("metrics_source_failed", source=name, error=type(error).__name__)
            return None
        return families if shared or not multiprocess.is_on() else [*multiprocess.labelled(families)]


class _Collected(Collector):
    """Families that were collected already, in the form that the text format is written from."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """The families, once."""
        yield from self._families
