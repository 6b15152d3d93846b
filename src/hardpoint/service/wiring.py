"""The reference service's parts, put together as a user would: what is opened, in which order, and what stands around.

Everything here is made from settings; nothing is made when the module is imported.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.middleware import Middleware

from hardpoint.auth import (
    AccessTokens,
    Auth,
    PasswordHasher,
    PasswordPolicy,
    PrincipalCache,
    open_principal_cache,
)
from hardpoint.broadcast import Broadcast
from hardpoint.db import CursorSigner, Database, create_engine, open_database
from hardpoint.db.migrations import Migrations
from hardpoint.errors import ServiceUnavailable
from hardpoint.jobs import open_light_tasks
from hardpoint.jobs.durable import DurableJobs, open_durable_jobs
from hardpoint.jobs.durable import is_migrated as jobs_are_migrated
from hardpoint.jobs.durable import migrate as migrate_jobs
from hardpoint.jobs.worker import open_worker
from hardpoint.lifespan import (
    HEALTH_PATHS,
    DrainMiddleware,
    Lifespan,
    Opened,
    Resource,
    open_drain,
    periodic,
)
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
from hardpoint.ratelimit import (
    FailureLimiter,
    Limiter,
    Rate,
    RateLimit,
    RateLimitMiddleware,
)
from hardpoint.realtime import Hub, open_hub
from hardpoint.realtime.authentication import SessionAuthenticator
from hardpoint.service.jobs import housekeeping  # noqa: F401 - declares its jobs.
from hardpoint.service.jobs.registry import jobs
from hardpoint.service.live.channels import channels
from hardpoint.service.live.job_changes import tells_owner
from hardpoint.service.mail.delivery import deliver_due
from hardpoint.service.mail.notifier import MailNotifier
from hardpoint.service.metrics import make_metrics
from hardpoint.service.secret import derive, load_keys, load_secret
from hardpoint.service.stores import open_broadcast, open_channels, open_limiter
from hardpoint.service.tracing import exporting
from hardpoint.service.users.models import AUTH_MODELS, User
from hardpoint.settings import ENV_PREFIX, Settings, SettingsError

__all__ = ["make_auth", "make_lifespan", "make_stack", "migrations", "open_engine", "open_jobs"]

_REQUEST_SECONDS: Final = 30
_MAIL_SECONDS: Final = {"development": 0.5, "test": 0.1, "production": 0.5}
_WORKER_CLOSE_SECONDS: Final = 30
# Sockets are closed over this part of the delay, so that the last of them has ended when it has passed.
_DRAIN_PART: Final = 0.6
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
        cache=cache,
    )


def make_lifespan(settings: Settings, *, serves: bool = True, works: bool | None = None) -> Lifespan:
    """What lives as long as the service, in the order in which it is opened.

    Args:
        settings: The settings.
        serves: Whether the process answers requests, and so has some to finish when it is asked to leave.
        works: Whether the process runs durable jobs and delivers mails; by default in every environment but production,
            where `hardpoint worker` does.
    """
    database = Resource(
        "database",
        lambda _: open_database(settings.resolved_database_url, **_pool_options(settings)),
        check=Database.ping,
    )
    metrics = Resource("metrics", lambda opened: nullcontext(make_metrics(settings, opened.state)))
    limiter: Resource[Limiter] = Resource("limiter", lambda opened: open_limiter(settings, opened[metrics]))
    broadcast: Resource[Broadcast] = Resource("broadcast", lambda _: open_broadcast(settings))
    auth: Resource[Auth[User]] = Resource(
        "auth", lambda opened: _open_auth(settings, opened[limiter], opened[broadcast])
    )
    mailer: Resource[Mailer] = Resource("mailer", lambda _: nullcontext(_make_mailer(settings)))

    durable: Resource[DurableJobs] = Resource(
        "jobs", lambda opened: open_durable_jobs(jobs, opened[database], settings.resolved_database_url)
    )

    async def deliver(opened: Opened) -> None:
        await deliver_due(opened[database], opened[mailer])

    def work(opened: Opened) -> AbstractAsyncContextManager[None]:
        return open_worker(opened[durable], state=opened.state, on_change=tells_owner(opened[realtime]))

    delay = _DRAIN_SECONDS[settings.environment]
    drain = Resource("drain", lambda _: open_drain(delay_seconds=delay))
    leaves = [drain] if serves else []
    origins = frozenset({*settings.cors_origins, settings.resolved_public_url})

    @asynccontextmanager
    async def open_realtime(opened: Opened) -> AsyncIterator[Hub]:
        authenticator = SessionAuthenticator(
            opened[auth], opened[database], query_access_tokens=settings.accepts_access_tokens_in_ws_query
        )
        async with (
            open_channels(settings, opened[broadcast]) as store,
            open_hub(
                channels,
                store,
                authenticator=authenticator,
                allowed_origins=origins,
                drain=opened[drain] if serves else None,
                drain_seconds=delay * _DRAIN_PART,
            ) as hub,
        ):
            yield hub

    realtime = Resource("realtime", open_realtime)
    works = not settings.is_production if works is None else works
    workers = [
        periodic("mail_delivery", deliver, every_seconds=_MAIL_SECONDS[settings.environment], at_start=True),
        Resource("worker", work, close_timeout_seconds=_WORKER_CLOSE_SECONDS),
    ]
    return Lifespan(
        *leaves,
        *exporting(settings),
        metrics,
        database,
        durable,
        Resource("http_client", lambda _: open_http_client()),
        limiter,
        broadcast,
        auth,
        Resource.constant("cursor_signer", CursorSigner(derive(load_secret(settings), "cursors"))),
        Resource.constant("allowed_origins", origins),
        mailer,
        Resource.constant("notifier", MailNotifier(settings.resolved_public_url)),
        realtime,
        Resource("light_tasks", lambda opened: open_light_tasks(opened.state)),
        # Last, so that everything that a job may use is open before it and closed after it.
        *(workers if works else []),
    )


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


@asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The database's engine, for a command; makes the data folder that the embedded database is in.

    Raises:
        SettingsError: The data folder cannot be made.
        ServiceUnavailable: The folder of a SQLite file does not exist.
    """
    if settings.is_embedded_database:
        try:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = type(error).__name__
            raise SettingsError([f"{ENV_PREFIX}DATA_DIR: {settings.data_dir} cannot be used: {reason}"]) from error
    engine = create_engine(settings.resolved_database_url, **_pool_options(settings))
    if not _has_folder(engine.url):
        # The driver would find out in a thread, which may outlive a command's event loop and complain about that.
        raise ServiceUnavailable("The database's folder does not exist")
    try:
        yield engine
    finally:
        await engine.dispose()


def _pool_options(settings: Settings) -> dict[str, Any]:
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": settings.database_max_overflow,
        "pool_timeout_seconds": settings.database_pool_timeout,
        "connect_timeout_seconds": settings.database_connect_timeout,
    }


def _has_folder(url: URL) -> bool:
    return url.get_backend_name() != "sqlite" or not url.database or Path(url.database).absolute().parent.is_dir()


@asynccontextmanager
async def open_jobs(settings: Settings) -> AsyncIterator[DurableJobs]:
    """The durable jobs, for a command; nothing runs them meanwhile."""
    async with (
        open_engine(settings) as engine,
        open_durable_jobs(jobs, Database(engine), settings.resolved_database_url) as durable,
    ):
        yield durable


def migrations() -> Migrations:
    """The service's schema migrations, with those of the jobs' engine, which has tables of its own in the database."""
    return _Migrations(Path(__file__).parent / "migrations")


class _Migrations(Migrations):
    async def upgrade(self, engine: AsyncEngine, revision: str = "head") -> None:
        await super().upgrade(engine, revision)
        await migrate_jobs(engine.url)

    async def is_current(self, engine: AsyncEngine) -> bool:
        return await super().is_current(engine) and await jobs_are_migrated(engine.url)
