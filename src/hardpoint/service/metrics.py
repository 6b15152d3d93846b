"""What the service measures."""

from collections.abc import Mapping
from typing import Any

from hardpoint.db import Database
from hardpoint.metrics import Metrics, sources
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy import func, select

from hardpoint.service.mail.models import QueuedMail
from hardpoint.service.settings import Settings

__all__ = ["make_metrics"]


def make_metrics(settings: Settings, state: Mapping[str, Any]) -> Metrics:
    """The metrics of one process; what it tells of the other resources is read from `state` at each scrape."""
    metrics = Metrics(instance=settings.resolved_instance)
    metrics.add("database", lambda: sources.database_pool(state["database"]))
    metrics.add("limiter", lambda: sources.limiter_store(state["limiter"]))
    metrics.add("connections", lambda: sources.connections(state["realtime"]))  # new: realtime
    metrics.add("light_tasks", lambda: sources.light_tasks(state["light_tasks"]))
    metrics.add("jobs", lambda: sources.durable_jobs(state["jobs"]), shared=True)  # new: jobs
    metrics.add("mails", lambda: _mails(state["database"]), shared=True)
    return metrics


async def _mails(database: Database) -> list[Metric]:
    async with database.session() as session:
        waiting = await session.scalar(select(func.count()).select_from(QueuedMail)) or 0
    told = "Mails that are not yet handed over"
    return [GaugeMetricFamily("hardpoint_mails_waiting", told, value=waiting)]
