"""Messages that cannot be sent at the moment wait for the channels, and nothing else waits with them."""

from hardpoint.service.jobs.registry import jobs
from hardpoint.service.live.announcing import announce


def test_a_message_waits_for_a_day_and_holds_up_no_other_job() -> None:
    retry = announce.retry
    shortest = sum(retry.pause_after(attempt) for attempt in range(1, retry.attempts)) * (1 - retry.jitter)
    assert shortest > 60_000
    assert retry.max_backoff_seconds <= 10
    assert [job for job in jobs if job.queue == announce.queue] == [announce]
