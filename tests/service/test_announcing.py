"""Messages that cannot be sent at the moment wait for the channels, and nothing else waits with them."""

from hardpoint.service.jobs.registry import jobs
from hardpoint.service.live.announcing import announce


def test_a_message_waits_for_a_day_and_holds_up_no_other_job() -> None:
    shortest = sum(announce.pause_after(attempt) for attempt in range(1, announce.attempts)) * (1 - announce.jitter)
    assert shortest > 60_000
    assert announce.max_backoff_seconds <= 10
    assert [job for job in jobs if job.queue == announce.queue] == [announce]
