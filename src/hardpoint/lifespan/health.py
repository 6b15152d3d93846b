"""Whether the process lives, and whether it should get requests."""

import asyncio
import inspect
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hardpoint.aio import is_failure
from hardpoint.arguments import check_argument
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.errors import ServiceUnavailable, error_response, responses
from hardpoint.lifespan.lifespan import Lifespan
from hardpoint.lifespan.resources import Resource
from hardpoint.log import get_logger

__all__ = ["HEALTH_PATHS", "Liveness", "Readiness", "ResourceState", "health_router"]

HEALTH_PATHS: Final = ("/health/live", "/health/ready")
_NO_STORE: Final = {"Cache-Control": "no-store"}

logger = get_logger("hardpoint.health")


class Liveness(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"] = "ok"


class ResourceState(BaseModel):
    """How one resource is."""

    status: Literal["ok", "failed", "timed_out"]


class Readiness(BaseModel):
    """Whether the service should get requests, and each resource's state."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ok", "resources": {"database": {"status": "ok"}}}]},
    )

    status: Literal["ok", "unavailable", "draining"]
    resources: dict[str, ResourceState] = Field(description="By name; without any detail that an attacker could use")


class _Checks:
    """Runs the checks, once for however many ask at the same time, and keeps the result for a moment."""

    def __init__(self, resources: Sequence[Resource[Any]], *, fresh_seconds: float, clock: Clock) -> None:
        self._resources = resources
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._states: dict[str, ResourceState] = {}
        self._checked_at: float | None = None

    async def states(self, request: Request) -> dict[str, ResourceState]:
        async with self._lock:
            if self._checked_at is None or self._clock() - self._checked_at >= self._fresh_seconds:
                async with asyncio.TaskGroup() as group:
                    tasks = {r.name: group.create_task(self._check(r, request)) for r in self._resources}
                self._states = {name: task.result() for name, task in tasks.items()}
                self._checked_at = self._clock()
            return self._states

    async def _check(self, resource: Resource[Any], request: Request) -> ResourceState:
        if not hasattr(request.state, resource.name):
            return ResourceState(status="failed")
        if resource.check is None:
            return ResourceState(status="ok")
        try:
            async with asyncio.timeout(resource.check_timeout_seconds):
                checking: Any = resource.check(resource.of(request))
                if not inspect.isawaitable(checking):
                    logger.error("health_check_not_async", resource=resource.name)
                    return ResourceState(status="failed")
                await checking
        except TimeoutError:
            logger.warning("health_check_timed_out", resource=resource.name)
            return ResourceState(status="timed_out")
        except BaseException as error:
            # Whatever a check raises means that it failed.
            if not is_failure(error):
                raise
            logger.warning("health_check_failed", resource=resource.name, error=type(error).__name__)
            return ResourceState(status="failed")
        return ResourceState(status="ok")


def health_router(
    lifespan: Lifespan,
    *,
    prefix: str = "/health",
    fresh_seconds: float = 1.0,
    clock: Clock = monotonic_clock,
) -> APIRouter:
    """The routes `live` and `ready` under `prefix`.

    `live` answers 200 as long as the process can answer at all. `ready` answers 200, or 503 while a required resource's
    check fails or the service drains, with each resource's state. Checks run at the same time, each within its own
    limit, and at most once in `fresh_seconds`, so that probes cannot be used to load the database.

    Args:
        lifespan: Whose resources are reported.
        prefix: Where the routes are.
        fresh_seconds: How long a result is used again.
        clock: A monotonic clock, in seconds.

    Raises:
        TypeError: It is no `Lifespan`.
        ValueError: `fresh_seconds` is less than 0.
    """
    check_argument("lifespan", lifespan, Lifespan, "the one in FastAPI(lifespan=lifespan)")
    if not fresh_seconds >= 0:
        raise ValueError("fresh_seconds must be 0 or more")
    router = APIRouter(prefix=prefix, tags=["health"])
    required = {resource.name for resource in lifespan.resources if resource.required}
    by_loop: dict[int, _Checks] = {}

    async def checks() -> _Checks:
        # An asyncio.Lock belongs to one loop, and an application under test runs in several, one after another.
        loop = id(asyncio.get_running_loop())
        if loop not in by_loop:
            by_loop.clear()
            by_loop[loop] = _Checks(lifespan.resources, fresh_seconds=fresh_seconds, clock=clock)
        return by_loop[loop]

    @router.api_route("/live", methods=["GET", "HEAD"], include_in_schema=False)
    @router.get("/live", summary="Is the process alive", response_model=Liveness, operation_id="health_live")
    async def live() -> Response:
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    @router.api_route("/ready", methods=["GET", "HEAD"], include_in_schema=False)
    @router.get(
        "/ready",
        summary="Should the service get requests",
        response_model=Readiness,
        operation_id="health_ready",
        responses=responses(ServiceUnavailable),
    )
    async def ready(request: Request, checks: Annotated[_Checks, Depends(checks)]) -> Response:
        states = await checks.states(request)
        failed = any(states[name].status != "ok" for name in required)
        drain = getattr(request.state, "drain", None)
        draining = drain is not None and drain.draining
        status: Literal["ok", "unavailable", "draining"] = "draining" if draining else "unavailable" if failed else "ok"
        report = Readiness(status=status, resources=states)
        if status == "ok":
            return JSONResponse(report.model_dump(), headers=_NO_STORE)
        detail = "The service is shutting down" if draining else "A resource is not available"
        return error_response(request.scope, ServiceUnavailable(detail), extra=report.model_dump())

    return router
