"""Where Prometheus looks."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from fastapi.params import Depends as DependsMark
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hardpoint.errors import ApiError, Forbidden, InvalidApiKey, responses
from hardpoint.metrics.core import Metrics

__all__ = ["METRICS_PATH", "get_metrics", "metrics_router"]

METRICS_PATH: Final = "/internal/metrics"
_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_EXAMPLE: Final = 'hardpoint_http_requests_total{method="GET",route="/posts",status="200"} 7.0\n'


async def get_metrics(request: Request) -> Metrics:
    """The `Metrics` that the lifespan holds under the name `metrics`."""
    metrics: Metrics = request.state.metrics
    return metrics


def metrics_router(
    *, guard: Any, refusals: Sequence[type[ApiError]] = (InvalidApiKey, Forbidden), path: str = METRICS_PATH
) -> APIRouter:
    """The route `GET path`, which answers in Prometheus's text format, version 0.0.4.

    Args:
        guard: `Depends(...)` of whatever lets in whom it should, such as `Depends(require_scope("metrics"))`: how much
            a service does, and how often its logins fail, is nobody else's business.
        refusals: What the guard raises, for the OpenAPI document; those of `require_scope` by default.
        path: Where the route is.

    Raises:
        TypeError: `guard` is not in a `Depends`.
        ValueError: `path` does not begin with a slash, so that nobody could reach it.
    """
    if path and not path.startswith("/"):
        raise ValueError(f"path must begin with a slash, and {path!r} does not")
    if not isinstance(guard, DependsMark):
        raise TypeError(f"guard takes Depends(require_scope('metrics')) or the like, not {guard!r}")
    router = APIRouter(tags=["operations"])

    @router.get(
        path,
        summary="Metrics for Prometheus",
        operation_id="read_metrics",
        dependencies=[guard],
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {"example": _EXAMPLE}}}, **responses(*refusals)},
    )
    async def read_metrics(metrics: Annotated[Metrics, Depends(get_metrics)]) -> Response:
        return Response(await metrics.render(), media_type=_CONTENT_TYPE, headers={"Cache-Control": "no-store"})

    return router
