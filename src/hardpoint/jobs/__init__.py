"""Work beside the request: light tasks after the response, and durable jobs that survive the process.

`hardpoint.jobs.durable` and `hardpoint.jobs.worker` are imported by their own names: they need the extra `jobs`.

    jobs = JobRegistry()

    @jobs.job(attempts=5)
    async def send_report(report_id: int, session: Session) -> None: ...

    await durable.enqueue(send_report, report_id=7, session=session)   # in the transaction of the data
    after.run(count_view, post_id=7)                                   # after this response, in this process
"""

from hardpoint.jobs.definitions import GiveUp, Job, JobError, JobQueue, JobRegistry, JobRun, RetryPolicy
from hardpoint.jobs.light import AfterResponse, LightTasks, after_response, open_light_tasks

__all__ = [
    "AfterResponse",
    "GiveUp",
    "Job",
    "JobError",
    "JobQueue",
    "JobRegistry",
    "JobRun",
    "LightTasks",
    "RetryPolicy",
    "after_response",
    "open_light_tasks",
]
