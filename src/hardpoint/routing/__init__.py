"""Route classes: JSON read strictly, and routes whose needs are worked out once, at registration.

Both are opt-in, for an application or a router: `APIRouter(route_class=CompiledRoute)`. `CompiledRoutesMiddleware` is
the short way to the latter.
"""

from hardpoint.routing.compiled import CompiledRoute, StrictCompiledRoute
from hardpoint.routing.middleware import CompiledRoutesMiddleware
from hardpoint.routing.strict import StrictJSONRoute

__all__ = ["CompiledRoute", "CompiledRoutesMiddleware", "StrictCompiledRoute", "StrictJSONRoute"]
