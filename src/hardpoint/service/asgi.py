"""What a server process imports: the service, made from the environment, its log configured."""

from fastapi import FastAPI
from hardpoint.log import configure_logging

from hardpoint.service.app import create_app
from hardpoint.service.settings import load_settings

__all__ = ["create"]


def create() -> FastAPI:
    """The service for the settings in the environment: `uvicorn --factory hardpoint.service.asgi:create`.

    Raises:
        SettingsError: A setting is refused.
    """
    settings = load_settings()
    configure_logging(
        settings.log_format,
        static={"instance": settings.resolved_instance},
        flush_seconds=settings.log_flush_seconds,
    )
    return create_app(settings)
