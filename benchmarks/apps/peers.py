"""The same work by what teams use today, each as its own documentation shows it."""

import json
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from fastapi_users import BaseUserManager, FastAPIUsers, IntegerIDMixin
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users_db_sqlalchemy import SQLAlchemyUserDatabase
from litestar import Litestar
from litestar import get as litestar_get
from litestar import post as litestar_post
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.logging.config import LoggingConfig
from litestar.middleware.base import DefineMiddleware
from litestar.middleware.logging import LoggingMiddlewareConfig
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.params import Body
from litestar.response import Response as LitestarResponse
from litestar.security.jwt import JWTAuth, Token
from pwdlib import PasswordHash
from pydantic import BaseModel
from slowapi import Limiter
from slowapi.middleware import SlowAPIMiddleware
from slowapi.util import get_remote_address
from sqlalchemy import String, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.middleware.base import BaseHTTPMiddleware

from apps.accounts import PASSWORD, ROLES, SECRET, database_url

ORIGINS = ["https://app.example.com"]
RATE = "100000000/minute"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Item(BaseModel):
    id: int
    name: str
    price: float


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name}
        return json.dumps({**entry, "event": record.getMessage(), **getattr(record, "fields", {})})


def request_logger() -> logging.Logger:
    logger = logging.getLogger("requests")
    handler = logging.FileHandler(os.environ["BENCHMARK_LOG"])
    handler.setFormatter(JsonFormatter())
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


# The textbook: three BaseHTTPMiddleware, CORS, slowapi in memory.


def textbook(*dependencies: Any, **options: Any) -> FastAPI:
    logger = request_logger()
    app = FastAPI(openapi_url=None, **options)
    app.state.limiter = Limiter(key_func=get_remote_address, default_limits=[RATE], headers_enabled=True)

    class RequestId(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            request.state.request_id = request.headers.get("X-Request-ID") or str(uuid.uuid4())
            response = await call_next(request)
            response.headers["X-Request-ID"] = request.state.request_id
            return response

    class TimingAndLog(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            began = time.perf_counter()
            response = await call_next(request)
            milliseconds = (time.perf_counter() - began) * 1_000
            response.headers["Server-Timing"] = f"app;dur={milliseconds:.2f}"
            fields = {
                "method": request.method,
                "path": request.url.path,
                "status": response.status_code,
                "duration_ms": round(milliseconds, 2),
                "client": request.client.host if request.client else None,
                "request_id": request.state.request_id,
            }
            logger.info("request", extra={"fields": fields})
            return response

    class SecurityHeaders(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers.update(SECURITY_HEADERS)
            return response

    app.add_middleware(SlowAPIMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=ORIGINS)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(TimingAndLog)
    app.add_middleware(RequestId)

    @app.get("/items/{item_id}", dependencies=list(dependencies))
    async def item(item_id: int) -> Item:
        return Item(id=item_id, name="a thing", price=3.5)

    return app


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    hashed_password: Mapped[str] = mapped_column(String(1024))
    is_active: Mapped[bool] = mapped_column(default=True)
    is_superuser: Mapped[bool] = mapped_column(default=False)
    is_verified: Mapped[bool] = mapped_column(default=False)
    role: Mapped[str] = mapped_column(String(32), default="user")


def sessions_of(name: str) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(create_async_engine(database_url(name)), expire_on_commit=False)


async def make_accounts(sessions: async_sessionmaker[AsyncSession]) -> None:
    async with sessions() as session:
        connection = await session.connection()
        await connection.run_sync(Base.metadata.create_all)
        password = PasswordHash.recommended().hash(PASSWORD)
        for email, role in ROLES.items():
            session.add(User(email=email, hashed_password=password, is_active=True, is_verified=True, role=role))
        await session.commit()


def textbook_auth() -> FastAPI:
    sessions = sessions_of("textbook")
    bearer = OAuth2PasswordBearer(tokenUrl="/auth/login")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await make_accounts(sessions)
        yield

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    async def current_user(
        token: Annotated[str, Depends(bearer)], session: Annotated[AsyncSession, Depends(get_session)]
    ) -> User:
        try:
            subject = jwt.decode(token, SECRET, algorithms=["HS256"])["sub"]
        except jwt.PyJWTError as error:
            raise HTTPException(401) from error
        user = await session.get(User, int(subject))
        if user is None or not user.is_active:
            raise HTTPException(401)
        return user

    async def admin(user: Annotated[User, Depends(current_user)]) -> User:
        if user.role != "admin":
            raise HTTPException(403)
        return user

    app = textbook(Depends(admin), lifespan=lifespan)

    @app.post("/auth/login")
    async def log_in(
        form: Annotated[OAuth2PasswordRequestForm, Depends()], session: Annotated[AsyncSession, Depends(get_session)]
    ) -> dict[str, str]:
        user = (await session.scalars(select(User).where(User.email == form.username))).one_or_none()
        if user is None or not PasswordHash.recommended().verify(form.password, user.hashed_password):
            raise HTTPException(401)
        expires = datetime.now(UTC) + timedelta(minutes=15)
        return {"access_token": jwt.encode({"sub": str(user.id), "exp": expires}, SECRET, algorithm="HS256")}

    return app


def fastapi_users() -> FastAPI:
    """The textbook's middlewares, and fastapi-users with its own JWT strategy."""
    sessions = sessions_of("fastapi_users")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await make_accounts(sessions)
        yield

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    async def get_user_db(session: Annotated[AsyncSession, Depends(get_session)]) -> AsyncIterator[Any]:
        yield SQLAlchemyUserDatabase(session, User)

    class UserManager(IntegerIDMixin, BaseUserManager[User, int]):
        reset_password_token_secret = SECRET.decode()
        verification_token_secret = SECRET.decode()

    async def get_user_manager(user_db: Annotated[Any, Depends(get_user_db)]) -> AsyncIterator[UserManager]:
        yield UserManager(user_db)

    backend = AuthenticationBackend(
        name="jwt",
        transport=BearerTransport(tokenUrl="auth/login"),
        get_strategy=lambda: JWTStrategy(secret=SECRET.decode(), lifetime_seconds=900),
    )
    users = FastAPIUsers[User, int](get_user_manager, [backend])
    current_user = users.current_user(active=True)

    async def admin(user: Annotated[User, Depends(current_user)]) -> User:
        if user.role != "admin":
            raise HTTPException(403)
        return user

    app = textbook(Depends(admin), lifespan=lifespan)
    router = APIRouter()
    router.include_router(users.get_auth_router(backend), prefix="/auth")
    app.include_router(router)
    return app


# Litestar with its own parts: logging, CORS, limiter, JWT. Request ids and timing are a few lines of its middleware.


def litestar(*, guards: Any = (), handlers: Any = (), **options: Any) -> Litestar:
    request_logger()

    def with_id_and_timing(app: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            began = time.perf_counter()
            request_id = scope["headers"] and dict(scope["headers"]).get(b"x-request-id", b"").decode()
            request_id = request_id or str(uuid.uuid4())

            async def wrapped(message: Any) -> None:
                if message["type"] == "http.response.start":
                    headers = MutableScopeHeaders.from_message(message)
                    headers["X-Request-ID"] = request_id
                    headers["Server-Timing"] = f"app;dur={(time.perf_counter() - began) * 1_000:.2f}"
                await send(message)

            await app(scope, receive, wrapped)

        return middleware

    @litestar_get("/items/{item_id:int}", guards=list(guards))
    async def item(item_id: int) -> Item:
        return Item(id=item_id, name="a thing", price=3.5)

    logging_config = LoggingConfig(
        formatters={"json": {"()": JsonFormatter}},
        handlers={
            "file": {"class": "logging.FileHandler", "filename": os.environ["BENCHMARK_LOG"], "formatter": "json"}
        },
        loggers={"litestar": {"level": "INFO", "handlers": ["file"], "propagate": False}},
        configure_root_logger=False,
    )
    one_line = LoggingMiddlewareConfig(request_log_fields=(), response_log_fields=("status_code",))
    return Litestar(
        [item, *handlers],
        cors_config=CORSConfig(allow_origins=ORIGINS),
        logging_config=logging_config,
        middleware=[
            DefineMiddleware(with_id_and_timing),
            one_line.middleware,
            RateLimitConfig(rate_limit=("minute", 100_000_000)).middleware,
        ],
        response_headers=[],
        after_request=_with_security_headers,
        openapi_config=None,
        request_max_body_size=1_048_576,
        **options,
    )


async def _with_security_headers(response: Any) -> Any:
    response.headers.update(SECURITY_HEADERS)
    return response


def _litestar_with_accounts(*, reads_user: bool) -> Litestar:
    sessions = sessions_of("litestar")

    async def retrieve_user(token: Token, _: ASGIConnection[Any, Any, Any, Any]) -> Any:
        if not reads_user:
            return token.extras
        async with sessions() as session:
            user = await session.get(User, int(token.sub))
        return None if user is None or not user.is_active else {"role": user.role}

    jwt_auth = JWTAuth[Any](
        retrieve_user_handler=retrieve_user, token_secret=SECRET.decode(), exclude=["/auth/login"], algorithm="HS256"
    )

    def admin(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if connection.user["role"] != "admin":
            raise PermissionDeniedException

    @litestar_post("/auth/login", status_code=200)
    async def log_in(
        data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> LitestarResponse[dict[str, str]]:
        async with sessions() as session:
            user = (await session.scalars(select(User).where(User.email == data["username"]))).one_or_none()
        if user is None or not PasswordHash.recommended().verify(data["password"], user.hashed_password):
            raise NotAuthorizedException
        token = jwt_auth.create_token(identifier=str(user.id), token_extras={"role": user.role})
        return LitestarResponse({"access_token": token})

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await make_accounts(sessions)
        yield

    return litestar(guards=[admin], handlers=[log_in], on_app_init=[jwt_auth.on_app_init], lifespan=[lifespan])


def litestar_auth() -> Litestar:
    """The role in the token: no query."""
    return _litestar_with_accounts(reads_user=False)


def litestar_auth_user() -> Litestar:
    """The user read with each request."""
    return _litestar_with_accounts(reads_user=True)
