"""What a service measures of itself, for Prometheus. Needs the extra `metrics`.

    metrics = Resource("metrics", lambda opened: nullcontext(Metrics()))
    app = FastAPI(lifespan=Lifespan(metrics), middleware=[Middleware(MetricsMiddleware)])
    app.include_router(metrics_router(guard=Depends(require_scope("metrics"))))

Something of your own goes into `metrics.registry`, as prometheus-client has it, or is read at each scrape:
`metrics.add("hub", lambda: [GaugeMetricFamily("sockets", "Open sockets", value=len(hub))])`. What the other parts
tell is in `hardpoint.metrics.sources`.
"""

from hardpoint.metrics.core import Metrics, Read
from hardpoint.metrics.limits import MeteredLimiter
from hardpoint.metrics.middleware import MetricsMiddleware
from hardpoint.metrics.routes import METRICS_PATH, metrics_router

__all__ = ["METRICS_PATH", "MeteredLimiter", "Metrics", "MetricsMiddleware", "Read", "metrics_router"]
