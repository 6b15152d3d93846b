"""What a service tells about itself: the documentation pages, with everything they need in this package."""

from hardpoint.openapi.docs_pages import docs_router

__all__ = ["docs_router"]
