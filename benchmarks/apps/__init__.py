"""The applications that are compared: one and the same route, with different things around it."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from hardpoint.log import configure_logging
from hardpoint.middleware import (
    AccessLogMiddleware,
    BodyLimitMiddleware,
    ClientAddressMiddleware,
    CORSMiddleware,
    ErrorsMiddleware,
    RequestIdMiddleware,
    SecurityHeadersMiddleware,
    Stack,
    TimeLimitMiddleware,
    TimingMiddleware,
)

ORIGINS = ["https://app.example.com"]


def app_with(*middlewares: Middleware) -> FastAPI:
    app = FastAPI(middleware=Stack(*middlewares), openapi_url=None)

    @app.get("/item")
    async def item() -> dict[str, Any]:
        return {"id": 1, "name": "a thing", "price": 3.5}

    return app


def one(*middlewares: Middleware) -> Callable[[], FastAPI]:
    return lambda: app_with(*middlewares)


def log_to_nowhere() -> None:
    # The lines are made in full; only the terminal's speed is left out.
    configure_logging("json")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(Path(os.devnull).open("w"))  # noqa: SIM115 - as long as the process lives.


def access_log() -> FastAPI:
    log_to_nowhere()
    return app_with(Middleware(AccessLogMiddleware))


def stack() -> FastAPI:
    log_to_nowhere()
    return app_with(
        Middleware(ClientAddressMiddleware, trusted=[]),
        Middleware(RequestIdMiddleware),
        Middleware(TimingMiddleware),
        Middleware(AccessLogMiddleware),
        Middleware(SecurityHeadersMiddleware),
        Middleware(CORSMiddleware, allow_origins=ORIGINS),
        Middleware(ErrorsMiddleware),
        Middleware(TimeLimitMiddleware, seconds=30),
        Middleware(BodyLimitMiddleware, max_bytes=1_048_576),
    )


bare = one()
request_id = one(Middleware(RequestIdMiddleware))
security_headers = one(Middleware(SecurityHeadersMiddleware))
cors = one(Middleware(CORSMiddleware, allow_origins=ORIGINS))
errors = one(Middleware(ErrorsMiddleware))
