"""What has to be cleared away every so often, by one process whichever it is."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import Depends

from hardpoint.auth import Auth, get_auth
from hardpoint.db import Session
from hardpoint.jobs.durable import Durable
from hardpoint.service.jobs.registry import jobs
from hardpoint.service.users.models import User

__all__ = ["drop_expired", "forget_jobs"]

_JOBS_ARE_KEPT: Final = timedelta(days=7)


@jobs.job(schedule="17 * * * *")
async def drop_expired(session: Session, auth: Annotated[Auth[User], Depends(get_auth)]) -> None:
    """Remove the sessions and tokens that nobody can use any more."""
    await auth.store(session).drop_expired(now=auth.now(), lifetime=auth.lifetime)


@jobs.job(schedule="47 * * * *")
async def forget_jobs(durable: Durable) -> None:
    """Remove the jobs that ended a week ago."""
    while await durable.forget_finished(older_than=_JOBS_ARE_KEPT):
        pass
