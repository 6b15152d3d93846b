"""Every route of the service is guarded or on the list of those that are meant to be public."""

from pathlib import Path

from hardpoint.auth import unguarded_routes

from hardpoint.service import create_app
from hardpoint.service.settings import Settings

PUBLIC = {
    "GET /.well-known/jwks.json",
    "GET /asyncapi.json",  # new: realtime
    # Where the links of mails lead; what they do needs their token.
    "GET /auth/reset-password",
    "GET /auth/verify-email",
    "GET /docs",
    # new: if realtime
    # Asks the hub's authenticator who it is, as the socket does.
    "GET /events",
    # new: end if
    "GET /health/live",
    "GET /health/ready",
    # new: if realtime
    # Logs in by itself.
    "GET /live",
    # new: end if
    "GET /openapi.json",
    "GET /posts",
    "GET /posts/{post_id}",
    "GET /posts/{post_id}/comments",
    "GET /redoc",
    "MOUNT /account-assets",
    "MOUNT /docs-assets",
    "MOUNT /live-assets",  # new: realtime
    "POST /auth/forgot-password",
    "POST /auth/login",
    # Takes a refresh token as well as an access token, and refuses when there is neither.
    "POST /auth/logout",
    "POST /auth/refresh",
    "POST /auth/register",
    "POST /auth/reset-password",
    "POST /auth/verify-email",
    "WEBSOCKET /ws",  # new: realtime
}


def test_every_route_is_guarded_or_declared_public(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path,
        database_url="postgresql+asyncpg:///nobody-connects",  # new: postgresql
    )
    app = create_app(settings)
    assert unguarded_routes(app) == PUBLIC
