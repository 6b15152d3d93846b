"""What a service tells about itself: a complete OpenAPI document, what changed in it, and pages that show it."""

from hardpoint.openapi.deprecation import Deprecation, DeprecationMiddleware, deprecated
from hardpoint.openapi.describe import Tag, install_openapi, unique_route_name
from hardpoint.openapi.diff import breaking_changes
from hardpoint.openapi.docs_pages import docs_router

__all__ = [
    "Deprecation",
    "DeprecationMiddleware",
    "Tag",
    "breaking_changes",
    "deprecated",
    "docs_router",
    "install_openapi",
    "unique_route_name",
]
