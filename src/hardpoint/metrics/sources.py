"""What the other parts tell at a scrape: each function gives the families of one of them as it is now."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from hardpoint.metrics.limits import MeteredLimiter
from hardpoint.ratelimit import Limiter, ResilientLimiter

if TYPE_CHECKING:
    # Each needs an extra of its own; whoever has one of these has imported it.
    from hardpoint.db import Database
    from hardpoint.jobs import LightTasks
    from hardpoint.jobs.durable import DurableJobs
    from hardpoint.realtime import Hub

__all__ = ["connections", "database_pool", "durable_jobs", "light_tasks", "limiter_store"]


def connections(hub: "Hub") -> Iterator[Metric]:
    """The sockets and event streams of this process, what they receive, and why the server closed some."""
    yield GaugeMetricFamily("hardpoint_connections", "Sockets and event streams", value=hub.connections)
    yield GaugeMetricFamily("hardpoint_subscriptions", "Channels that they receive", value=hub.subscriptions)
    family = CounterMetricFamily("hardpoint_connections_closed", "Those that the server closed", labels=["code"])
    for code, count in hub.closings.items():
        family.add_metric([str(code)], count)
    yield family


def database_pool(database: "Database") -> Iterator[Metric]:
    """The connections of this process: open ones, those in use, and how many there may be."""
    family = GaugeMetricFamily("hardpoint_database_connections", "The pool's connections", labels=["state"])
    usage = database.pool_usage()
    if usage is not None:
        family.add_metric(["open"], usage.open)
        family.add_metric(["checked_out"], usage.checked_out)
        family.add_metric(["limit"], usage.limit)
    yield family


def limiter_store(limiter: Limiter) -> Iterator[Metric]:
    """How the limits' store does, for a limiter that has one: away now, how often so far, decisions made without it."""
    inner = limiter.limiter if isinstance(limiter, MeteredLimiter) else limiter
    if isinstance(inner, ResilientLimiter):
        breaker = inner.breaker
        away = float(breaker.is_open)
        yield GaugeMetricFamily("hardpoint_limit_store_away", "Whether the limits' store is away", value=away)
        yield CounterMetricFamily("hardpoint_limit_store_outages", "How often it went away", value=breaker.outages)
        yield CounterMetricFamily("hardpoint_limit_fallbacks", "Decisions made without it", value=breaker.skipped)


def light_tasks(tasks: "LightTasks") -> Iterator[Metric]:
    """Light tasks of this process."""
    yield GaugeMetricFamily("hardpoint_tasks_waiting", "Light tasks that run or wait", value=tasks.waiting)
    family = CounterMetricFamily("hardpoint_tasks", "Light tasks that ended", labels=["outcome"])
    family.add_metric(["done"], tasks.done)
    family.add_metric(["failed"], tasks.failed)
    yield family


async def durable_jobs(jobs: "DurableJobs", *, recent_seconds: int = 300) -> list[Metric]:
    """Durable jobs, as the database has them; every instance tells the same, so ask for `max by (job)`, not the sum.

    Args:
        jobs: The jobs.
        recent_seconds: Over which time latencies are told.
    """
    counts = GaugeMetricFamily("hardpoint_jobs", "Jobs that are kept", labels=["job", "status"])
    oldest = GaugeMetricFamily("hardpoint_jobs_overdue_seconds", "How long the first in line waits", labels=["job"])
    mean = GaugeMetricFamily("hardpoint_jobs_latency_mean_seconds", "From due to done, recently", labels=["job"])
    longest = GaugeMetricFamily("hardpoint_jobs_latency_max_seconds", "The longest of these", labels=["job"])
    figures = await jobs.figures(recent_seconds=recent_seconds)
    for count in figures.counts:
        counts.add_metric([count.name, count.status], count.count)
    for name, seconds in figures.overdue_seconds.items():
        oldest.add_metric([name], seconds)
    for name, latency in figures.latencies.items():
        mean.add_metric([name], latency.mean_seconds)
        longest.add_metric([name], latency.max_seconds)
    return [counts, oldest, mean, longest]
