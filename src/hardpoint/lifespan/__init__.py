"""What lives as long as the service: resources opened in order, health, draining, periodic work, warm-up.

`hardpoint.lifespan.http_client` is imported by its own name, because it needs the extra `http`.
"""

from hardpoint.lifespan.background import periodic, warm_up
from hardpoint.lifespan.drain import Drain, DrainMiddleware, open_drain
from hardpoint.lifespan.health import HEALTH_PATHS, Liveness, Readiness, ResourceState, health_router
from hardpoint.lifespan.lifespan import Lifespan
from hardpoint.lifespan.resources import Opened, Resource

__all__ = [
    "HEALTH_PATHS",
    "Drain",
    "DrainMiddleware",
    "Lifespan",
    "Liveness",
    "Opened",
    "Readiness",
    "Resource",
    "ResourceState",
    "health_router",
    "open_drain",
    "periodic",
    "warm_up",
]
