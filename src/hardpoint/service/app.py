"""The service as an ASGI application."""

from importlib.metadata import version

from fastapi import FastAPI
from hardpoint.auth import auth_router, jwks_router
from hardpoint.errors import install_error_handlers
from hardpoint.lifespan import HEALTH_PATHS, health_router
from hardpoint.openapi import docs_router, install_openapi, unique_route_name
from hardpoint.realtime import realtime_router  # new: realtime

from hardpoint.service.comments.routes import router as comments_router
from hardpoint.service.description import DESCRIPTION, EVERYWHERE, SUMMARY, TAGS, TITLE
from hardpoint.service.jobs.routes import router as jobs_router  # new: jobs
from hardpoint.service.live.routes import router as live_router  # new: realtime
from hardpoint.service.operations import router as operations_router
from hardpoint.service.posts.publishing import router as publishing_router
from hardpoint.service.posts.routes import router as posts_router
from hardpoint.service.settings import Settings
from hardpoint.service.tracing import TELEMETRY
from hardpoint.service.users.mail_links import router as mail_links_router
from hardpoint.service.users.routes import router as users_router
from hardpoint.service.wiring import make_lifespan, make_stack

__all__ = ["create_app"]


def create_app(settings: Settings) -> FastAPI:
    """The service for `settings`; nothing is opened before it starts.

    Raises:
        SettingsError: The secret cannot be read or made.
    """
    lifespan = make_lifespan(settings)
    app = FastAPI(
        title=TITLE,
        summary=SUMMARY,
        description=DESCRIPTION,
        version=version("hardpoint"),
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
    app.include_router(auth_router(ws_tickets=False))
    app.include_router(mail_links_router)
    app.include_router(jwks_router())
    app.include_router(users_router)
    app.include_router(posts_router)
    app.include_router(publishing_router)
    app.include_router(comments_router)
    app.include_router(jobs_router)  # new: jobs
    # new: if realtime
    app.include_router(realtime_router(asyncapi_path="/asyncapi.json" if settings.shows_docs else None))
    app.include_router(live_router)
    # new: end if
    app.include_router(operations_router)
    if settings.shows_docs:
        app.include_router(docs_router(title=TITLE))
    install_openapi(
        app, tags=TAGS, servers=[settings.resolved_public_url], everywhere=EVERYWHERE, exempt_paths=HEALTH_PATHS
    )
    return app
