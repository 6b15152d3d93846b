"""The reference service as an ASGI application."""

from fastapi import Depends, FastAPI

from hardpoint import __version__
from hardpoint.auth import api_keys_router, auth_router, jwks_router, require_scope
from hardpoint.errors import install_error_handlers
from hardpoint.lifespan import HEALTH_PATHS, health_router
from hardpoint.metrics import metrics_router
from hardpoint.openapi import docs_router, install_openapi, unique_route_name
from hardpoint.realtime import realtime_router
from hardpoint.service.access import require_role
from hardpoint.service.comments.routes import router as comments_router
from hardpoint.service.description import DESCRIPTION, EVERYWHERE, TAGS
from hardpoint.service.jobs.routes import router as jobs_router
from hardpoint.service.live.routes import router as live_page_router
from hardpoint.service.posts.routes import router as posts_router
from hardpoint.service.tracing import TELEMETRY
from hardpoint.service.users.routes import router as users_router
from hardpoint.service.wiring import make_lifespan, make_stack
from hardpoint.settings import Settings

__all__ = ["create_app"]


def create_app(settings: Settings) -> FastAPI:
    """The service for `settings`; nothing is opened before it starts.

    Raises:
        SettingsError: The secret cannot be read or made.
    """
    lifespan = make_lifespan(settings)
    app = FastAPI(
        title="hardpoint",
        summary="The reference service of hardpoint: the kit used on itself.",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        middleware=make_stack(settings),
        openapi_url="/openapi.json" if settings.shows_docs else None,
        docs_url=None,
        redoc_url=None,
        # A redirect for a slash would answer a typo with a 307 that no other layer sees.
        redirect_slashes=False,
        telemetry=TELEMETRY,
        generate_unique_id_function=unique_route_name,
    )
    install_error_handlers(app)
    app.include_router(health_router(lifespan))
    app.include_router(auth_router())
    app.include_router(jwks_router())
    app.include_router(users_router)
    app.include_router(posts_router)
    app.include_router(comments_router)
    app.include_router(jobs_router)
    app.include_router(realtime_router(asyncapi_path="/asyncapi.json" if settings.shows_docs else None))
    app.include_router(api_keys_router(guard=Depends(require_role("admin"))))
    app.include_router(live_page_router)
    app.include_router(metrics_router(guard=Depends(require_scope("metrics"))))
    if settings.shows_docs:
        app.include_router(docs_router(title="hardpoint"))
    install_openapi(
        app, tags=TAGS, servers=[settings.resolved_public_url], everywhere=EVERYWHERE, exempt_paths=HEALTH_PATHS
    )
    return app
