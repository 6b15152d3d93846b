"""How many jobs wait, run and have failed, as the database counts them."""

import asyncio
from datetime import timedelta

from hardpoint.jobs import GiveUp, JobRegistry
from hardpoint.metrics.sources import durable_jobs
from support.jobs import Bench, finished, until


async def test_jobs_are_counted_by_name_and_status_and_timed(bench: Bench) -> None:
    registry = JobRegistry()
    begun, go_on = asyncio.Event(), asyncio.Event()

    @registry.job()
    async def wait() -> None:
        begun.set()
        await go_on.wait()

    @registry.job(attempts=1)
    async def fail() -> None:
        raise GiveUp

    async with bench.jobs(registry) as jobs:
        running = await jobs.enqueue(wait)
        failed = await jobs.enqueue(fail)
        figures = await jobs.figures()
        assert {(count.name, count.status, count.count) for count in figures.counts} == {
            ("wait", "queued", 1),
            ("fail", "queued", 1),
        }
        assert set(figures.overdue_seconds) == {"wait", "fail"}
        assert figures.latencies == {}
        async with bench.worker(jobs):
            await begun.wait()
            await finished(jobs, failed)
            later = await jobs.enqueue(wait, delay=timedelta(hours=1))
            figures = await jobs.figures()
            assert {(count.name, count.status, count.count) for count in figures.counts} == {
                ("wait", "running", 1),
                ("wait", "queued", 1),
                ("fail", "failed", 1),
            }
            # The one that waits is not due for an hour.
            assert figures.overdue_seconds == {"wait": 0}
            go_on.set()
            await finished(jobs, running)
            await jobs.cancel(later)

            async def is_told() -> bool:
                return "wait" in (await jobs.figures()).latencies

            await until(is_told)
        figures = await jobs.figures()
        assert {(count.name, count.status) for count in figures.counts} == {("fail", "failed")}
        assert figures.overdue_seconds == {}
        latency = figures.latencies["wait"]
        assert 0 < latency.mean_seconds == latency.max_seconds
        families = {family.name: family.samples for family in await durable_jobs(jobs)}
        assert [(sample.labels, sample.value) for sample in families["hardpoint_jobs"]] == [
            ({"job": "fail", "status": "failed"}, 1)
        ]
        assert [sample.labels for sample in families["hardpoint_jobs_latency_max_seconds"]] == [{"job": "wait"}]
