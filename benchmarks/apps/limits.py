"""One and the same limit, which is never reached, by each library as its own documentation shows it."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import limits as limits_library
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi_limiter.depends import RateLimiter
from limits.aio.strategies import FixedWindowRateLimiter
from pyrate_limiter import Limiter as PyrateLimiter
from pyrate_limiter import Rate as PyrateRate
from pyrate_limiter import RedisBucket
from redis.asyncio import Redis
from slowapi import Limiter as SlowLimiter
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.responses import Response

from hardpoint.lifespan import Lifespan, Resource
from hardpoint.ratelimit import MemoryLimiter, RateLimit, RateLimitMiddleware, open_resilient_limiter
from hardpoint.ratelimit.valkey import open_valkey_limiter

# Never reached, but by the check before.
RATE = int(os.environ.get("BENCHMARK_RATE", "10000000"))
REDIS_URL = os.environ.get("BENCHMARK_REDIS_URL", "")


def with_route(app: FastAPI, *dependencies: Any) -> FastAPI:
    @app.get("/item", dependencies=list(dependencies))
    async def item() -> dict[str, Any]:
        return {"id": 1, "name": "a thing", "price": 3.5}

    return app


def without() -> FastAPI:
    """The same application without a limit."""
    return with_route(FastAPI(openapi_url=None))


# The server sends five headers like a limit's (`serving.py`): what they cost, whoever makes them.
headers = without


def hardpoint(limiter: Callable[[], AbstractAsyncContextManager[Any]], *, as_dependency: bool = False) -> FastAPI:
    limit = RateLimit(f"{RATE}/minute")
    lifespan = Lifespan(Resource("limiter", lambda _: limiter()))
    if as_dependency:
        return with_route(FastAPI(openapi_url=None, lifespan=lifespan), Depends(limit))
    return with_route(
        FastAPI(openapi_url=None, lifespan=lifespan, middleware=[Middleware(RateLimitMiddleware, limits=[limit])])
    )


@asynccontextmanager
async def memory() -> AsyncIterator[Any]:
    yield MemoryLimiter()


@asynccontextmanager
async def valkey() -> AsyncIterator[Any]:
    # The machine is shared: a second's pause of its own is not the store's.
    async with open_valkey_limiter(REDIS_URL, timeout_seconds=5) as store, open_resilient_limiter(store) as limiter:
        yield limiter
        if limiter.breaker.outages:
            raise RuntimeError("The store was away; the figures are of the fallback")


def hardpoint_memory() -> FastAPI:
    return hardpoint(memory)


def hardpoint_valkey() -> FastAPI:
    return hardpoint(valkey)


def hardpoint_dependency_memory() -> FastAPI:
    return hardpoint(memory, as_dependency=True)


def hardpoint_dependency_valkey() -> FastAPI:
    return hardpoint(valkey, as_dependency=True)


async def nothing(connection: HTTPConnection, response: Response) -> None: ...


def empty_dependency() -> FastAPI:
    """What a dependency costs that does nothing."""
    return with_route(FastAPI(openapi_url=None), Depends(nothing))


def slowapi(storage: str) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.limiter = SlowLimiter(
        key_func=get_remote_address, default_limits=[f"{RATE}/minute"], headers_enabled=True, storage_uri=storage
    )
    app.add_middleware(SlowAPIASGIMiddleware)
    return with_route(app)


def slowapi_memory() -> FastAPI:
    return slowapi("memory://")


def slowapi_valkey() -> FastAPI:
    return slowapi(REDIS_URL)


def fastapi_limiter_memory() -> FastAPI:
    limiter = RateLimiter(limiter=PyrateLimiter(PyrateRate(RATE, 60_000)))
    return with_route(FastAPI(openapi_url=None), Depends(limiter))


def fastapi_limiter_valkey() -> FastAPI:
    made: list[RateLimiter] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        client = Redis.from_url(REDIS_URL)
        bucket = await RedisBucket.init([PyrateRate(RATE, 60_000)], client, "pyrate")
        made.append(RateLimiter(limiter=PyrateLimiter(bucket)))
        yield
        await client.aclose()

    async def limit(request: Request) -> None:
        await made[0](request, None)  # type: ignore[arg-type] # Only its callback looks at the response.

    return with_route(FastAPI(openapi_url=None, lifespan=lifespan), Depends(limit))


def limits_with(storage: Any) -> FastAPI:
    limiter, rate = FixedWindowRateLimiter(storage), limits_library.parse(f"{RATE}/minute")

    async def limit(request: Request) -> None:
        if not await limiter.hit(rate, get_remote_address(request)):
            raise HTTPException(429)

    return with_route(FastAPI(openapi_url=None), Depends(limit))


def limits_memory() -> FastAPI:
    return limits_with(limits_library.storage.storage_from_string("async+memory://"))


def limits_valkey() -> FastAPI:
    return limits_with(limits_library.storage.storage_from_string(f"async+{REDIS_URL}", implementation="redispy"))
