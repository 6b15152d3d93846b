"""The route of jobs."""

from typing import Annotated

from fastapi import APIRouter, Path
from hardpoint.errors import InvalidToken, NotFound, ValidationFailed, responses
from hardpoint.jobs.durable import Durable
from hardpoint.routing import StrictCompiledRoute

from hardpoint.service.access import CurrentUser
from hardpoint.service.jobs.schemas import JobOut

__all__ = ["router"]

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=StrictCompiledRoute)

# A scheduled job's id is made of its name and its time.
JobId = Annotated[str, Path(pattern=r"^[0-9A-Za-z_:.+-]+$", max_length=300, description="The job's id")]


@router.get("/{job_id}", summary="A job", responses=responses(InvalidToken, NotFound, ValidationFailed))
async def read_job(job_id: JobId, durable: Durable, user: CurrentUser) -> JobOut:
    """For who queued it, and for admins; for others it does not exist."""
    info = await durable.info(job_id)
    if user.role != "admin" and info.principal != f"user:{user.id}":
        raise NotFound
    return JobOut.model_validate(info)
