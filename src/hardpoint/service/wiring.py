"""The service's parts, put together: what is opened, in which order, and what stands around.

Everything here is made from settings; nothing is made when the module is imported.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final

from hardpoint.auth import AccessTokens, Auth, PasswordHasher, PasswordPolicy, PrincipalCache, open_principal_cache
from hardpoint.broadcast import Broadcast
from hardpoint.db import CursorSigner, Database, open_database
from hardpoint.jobs import open_light_tasks
from hardpoint.lifespan import HEALTH_PATHS, DrainMiddleware, Lifespan, Opened, Resource, open_drain, periodic
from hardpoint.lifespan.http_client import open_http_client
from hardpoint.mail import Mailer, make_mailer
from hardpoint.metrics import METRICS_PATH, MetricsMiddleware
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
    TracingMiddleware,
)
from hardpoint.ratelimit import FailureLimiter, Limiter, Rate, RateLimit, RateLimitMiddleware
from hardpoint.routing import CompiledRoutesMiddleware
from starlette.middleware import Middleware

from hardpoint.service.database import pool_options
from hardpoint.service.jobs.running import durable_jobs, worker  # new: jobs
from hardpoint.service.live.hub import realtime_hub  # new: realtime
from hardpoint.service.mail.delivery import deliver_due
from hardpoint.service.mail.notifier import MailNotifier
from hardpoint.service.metrics import make_metrics
from hardpoint.service.secret import derive, load_keys, load_secret
from hardpoint.service.settings import Settings
from hardpoint.service.stores import open_broadcast, open_limiter
from hardpoint.service.tracing import exporting
from hardpoint.service.users.models import AUTH_MODELS, User

__all__ = ["make_auth", "make_lifespan", "make_stack"]

_REQUEST_SECONDS: Final = 30
_LIFETIME_SECONDS: Final = 90 * 86_400
_MAIL_SECONDS: Final = {"development": 0.5, "test": 0.1, "production": 0.5}
_HOUSEKEEPING_SECONDS: Final = 3_600
_DRAIN_SECONDS: Final = {"development": 0.5, "test": 0.5, "production": 5.0}


def make_stack(settings: Settings) -> Stack:
    """The middlewares, outermost first."""
    limited = []
    if settings.rate_limit != "off":
        limits = [RateLimit(settings.rate_limit)]
        exempt = (*HEALTH_PATHS, METRICS_PATH)
        limited = [Middleware(RateLimitMiddleware, limits=limits, exempt_paths=exempt)]
    return Stack(
        Middleware(ClientAddressMiddleware, trusted=settings.trusted_proxies),
        Middleware(RequestIdMiddleware),
        Middleware(TracingMiddleware),
        Middleware(TimingMiddleware),
        Middleware(MetricsMiddleware),
        Middleware(AccessLogMiddleware, exempt_paths=HEALTH_PATHS),
        Middleware(DrainMiddleware),
        Middleware(SecurityHeadersMiddleware),
        Middleware(CORSMiddleware, allow_origins=settings.cors_origins, allow_credentials=True),
        Middleware(ErrorsMiddleware),
        Middleware(TimeLimitMiddleware, seconds=_REQUEST_SECONDS),
        *limited,
        Middleware(BodyLimitMiddleware, max_bytes=settings.max_body_bytes),
        Middleware(CompiledRoutesMiddleware),
    )


def make_auth(settings: Settings, limiter: Limiter, cache: PrincipalCache | None = None) -> Auth[User]:
    """Accounts and sessions over the service's models."""
    secret = load_secret(settings)
    issuer = settings.resolved_public_url
    rate = settings.login_rate_limit
    return Auth(
        models=AUTH_MODELS,
        tokens=AccessTokens(
            load_keys(settings),
            issuer=issuer,
            audience=issuer,
            ttl_seconds=settings.access_token_ttl,
        ),
        secret=derive(secret, "sessions"),
        hasher=PasswordHasher(),
        policy=PasswordPolicy(context_words=["hardpoint"]),
        notifier=MailNotifier(settings.resolved_public_url),
        limiter=None if rate == "off" else FailureLimiter(limiter, Rate.parse(rate)),
        require_verified_email=settings.email_verification == "required",
        idle_seconds=settings.refresh_token_ttl,
        lifetime_seconds=max(_LIFETIME_SECONDS, settings.refresh_token_ttl),
        cache=cache,
    )


def make_lifespan(
    settings: Settings,
    # new: if jobs
    *,
    # Whether the process answers requests, and so has some to finish when it is asked to leave.
    serves: bool = True,
    # Whether it runs durable jobs and delivers mails; by default everywhere but in production, where a worker does.
    works: bool | None = None,
    # new: end if
) -> Lifespan:
    """What lives as long as the service, in the order in which it is opened."""
    drain_seconds = _DRAIN_SECONDS[settings.environment]
    drain = Resource("drain", lambda _: open_drain(delay_seconds=drain_seconds))
    database = Resource(
        "database",
        lambda _: open_database(settings.resolved_database_url, **pool_options(settings)),
        check=Database.ping,
    )
    metrics = Resource("metrics", lambda opened: nullcontext(make_metrics(settings, opened.state)))
    limiter: Resource[Limiter] = Resource("limiter", lambda opened: open_limiter(settings, opened[metrics]))
    broadcast: Resource[Broadcast] = Resource("broadcast", lambda _: open_broadcast(settings))
    auth: Resource[Auth[User]] = Resource(
        "auth", lambda opened: _open_auth(settings, opened[limiter], opened[broadcast])
    )
    mailer: Resource[Mailer] = Resource("mailer", lambda _: nullcontext(_make_mailer(settings)))
    origins = frozenset({*settings.cors_origins, settings.public_origin})
    durable = durable_jobs(settings, database)  # new: jobs
    # new: if realtime
    realtime = realtime_hub(
        settings,
        auth=auth,
        database=database,
        broadcast=broadcast,
        drain=drain,
        origins=origins,
        drain_seconds=drain_seconds,
    )
    # new: end if

    async def deliver(opened: Opened) -> None:
        await deliver_due(opened[database], opened[mailer])

    async def drop_expired(opened: Opened) -> None:
        # Sessions and tokens that nobody can use any more.
        now, lifetime = opened[auth].now(), opened[auth].lifetime
        async with opened[database].session() as session:
            await opened[auth].store(session).drop_expired(now=now, lifetime=lifetime)

    work: list[Resource[Any]] = [
        periodic("mail_delivery", deliver, every_seconds=_MAIL_SECONDS[settings.environment], at_start=True),
        periodic("housekeeping", drop_expired, every_seconds=_HOUSEKEEPING_SECONDS),
        # new: if jobs
        worker(
            durable,
            realtime,  # new: realtime
        ),
        # new: end if
    ]
    resources: list[Resource[Any]] = [
        drain,
        *exporting(settings),
        metrics,
        database,
        durable,  # new: jobs
        # For calls to other services, with the request's id.
        Resource("http_client", lambda _: open_http_client()),
        limiter,
        broadcast,
        auth,
        Resource.constant("cursor_signer", CursorSigner(derive(load_secret(settings), "cursors"))),
        Resource.constant("allowed_origins", origins),
        mailer,
        Resource.constant("notifier", MailNotifier(settings.resolved_public_url)),
        realtime,  # new: realtime
        # For routes that leave something to be done after their answer.
        Resource("light_tasks", lambda opened: open_light_tasks(opened.state)),
        # Last, so that everything that it may use is open before it and closed after it.
        *work,
    ]
    # new: if jobs
    works = not settings.is_production if works is None else works
    unwanted = [*([] if serves else [drain]), *([] if works else work)]
    resources = [resource for resource in resources if resource not in unwanted]
    # new: end if
    return Lifespan(*resources)


@asynccontextmanager
async def _open_auth(settings: Settings, limiter: Limiter, broadcast: Broadcast) -> AsyncIterator[Auth[User]]:
    if settings.redis_url is None:
        # Nobody would tell this process of a logout in another one.
        yield make_auth(settings, limiter)
        return
    async with open_principal_cache(broadcast) as cache:
        yield make_auth(settings, limiter, cache)


def _make_mailer(settings: Settings) -> Mailer:
    url = None if settings.smtp_url is None else settings.smtp_url.get_secret_value()
    return make_mailer(url, folder=settings.data_dir / "mail", sender=settings.smtp_from)
