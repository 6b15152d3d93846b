"""The chain from a request or WebSocket to a user; each link is a plain dependency and can be overridden alone.

    credentials -> access_claims -> optional_principal -> current_principal -> current_user -> current_role
     (header)        (token)                                                     (user)          (role)

None of them is a plain function, which FastAPI would run in a thread.

All of them take an `HTTPConnection`, so the same chain guards routes and sockets. Where one stands on another that is
cheap to ask, it asks for it by `link`, which overrides reach as they reach a parameter.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeAlias
from weakref import WeakSet

from fastapi import Depends
from fastapi.openapi.models import APIKey, APIKeyIn, OAuthFlowPassword, OAuthFlows
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.openapi.models import OAuth2 as OAuth2Model
from fastapi.security.base import SecurityBase
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection
from typing_extensions import TypeVar

from hardpoint import context
from hardpoint.auth.api_keys import check_scope
from hardpoint.auth.base import Client
from hardpoint.auth.core import Auth
from hardpoint.auth.protocols import AuthApiKey, AuthSession, AuthUser, SessionAndUser
from hardpoint.auth.tokens import AccessClaims
from hardpoint.db import LazySession, Session
from hardpoint.errors import BadRequest, Forbidden, InvalidApiKey, Unauthorized
from hardpoint.log import get_logger
from hardpoint.origins import origins as known_origins
from hardpoint.ratelimit import by_address
from hardpoint.resolving import has_overrides, link
from hardpoint.scope import of_lifespan

__all__ = [
    "OPTIONAL_SECURITY",
    "Credentials",
    "CurrentUser",
    "OptionalUser",
    "Principal",
    "access_claims",
    "access_token_scheme",
    "allowed_origins",
    "by_principal",
    "check_origin",
    "client",
    "cookie_name",
    "credentials",
    "current_principal",
    "current_role",
    "current_user",
    "get_auth",
    "is_scope_guard",
    "optional_api_key",
    "optional_principal",
    "optional_user",
    "require_scope",
    "session_cookies",
]

logger = get_logger("hardpoint.auth")

U = TypeVar("U", bound=AuthUser, default=AuthUser)

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CREDENTIAL_HEADERS: Final = frozenset({b"authorization", b"x-api-key"})
_scope_guards: Final[WeakSet[Callable[..., Any]]] = WeakSet()


class _Scheme(SecurityBase):
    """A security scheme in the OpenAPI document that takes no part in the request."""

    hardpoint_is_inert: Final = True
    """Compiled routes do not call it: it always gives `None`."""

    def __init__(self, model: HTTPBearerModel | APIKey, scheme_name: str) -> None:
        self.model = model
        self.scheme_name = scheme_name

    async def __call__(self) -> None:
        """Nothing: `credentials` reads the connection itself."""


access_token_scheme = _Scheme(
    HTTPBearerModel(bearerFormat="JWT", description="An access token of `POST /auth/login`"), "AccessToken"
)
_session_cookie = _Scheme(
    APIKey.model_validate(
        {
            "in": APIKeyIn.cookie,
            "name": "session",
            "description": "The cookie of `POST /auth/login?session=cookie`; over https it is `__Host-session`",
        }
    ),
    "SessionCookie",
)
_api_key_header = _Scheme(
    APIKey.model_validate({"in": APIKeyIn.header, "name": "X-API-Key", "description": "A key of `POST /api-keys`"}),
    "APIKeyHeader",
)


OPTIONAL_SECURITY: Final[dict[str, Any]] = {
    "security": [{}, {"OAuth2PasswordBearer": []}, {"AccessToken": []}, {"SessionCookie": []}]
}
"""For routes that ask for `optional_user`, which OpenAPI is told by hand: `openapi_extra=OPTIONAL_SECURITY`."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a connection brought, none of it verified.

    Attributes:
        bearer: The token of `Authorization: Bearer`.
        cookie: The session cookie.
        api_key: The `X-API-Key` header.
    """

    bearer: str | None = None
    cookie: str | None = None
    api_key: str | None = None


class Principal(Generic[U]):
    """A user in a session of theirs; annotate with your own model: `Principal[User]`.

    Args:
        user: The user, as the database has them now.
        session: The session.
        expires_at: When the access token expires, in seconds since the epoch; `None` for a cookie.
    """

    __slots__ = ("_expires_at", "_found")

    def __init__(self, user: U, session: AuthSession, expires_at: int | None = None) -> None:
        self._found = SessionAndUser(session, user)
        self._expires_at = expires_at

    @classmethod
    def of(cls, found: SessionAndUser[U], expires_at: int | None = None) -> "Principal[U]":
        """The same of what a store found, whose session is looked at only if somebody asks for it."""
        principal = cls.__new__(cls)
        principal._found, principal._expires_at = found, expires_at  # noqa: SLF001 - its own.
        return principal

    @property
    def user(self) -> U:
        """The user."""
        return self._found.user

    @property
    def session(self) -> AuthSession:
        """The session."""
        return self._found.session

    @property
    def expires_at(self) -> int | None:
        """When the access token expires."""
        return self._expires_at

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Principal):
            return NotImplemented
        return (self.user, self.session, self.expires_at) == (other.user, other.session, other.expires_at)

    def __hash__(self) -> int:
        return hash((self.user, self.session, self.expires_at))

    def __repr__(self) -> str:
        return f"Principal(user={self.user!r}, session={self.session!r}, expires_at={self.expires_at!r})"


async def get_auth(connection: HTTPConnection) -> Auth[Any]:
    """The `Auth` that the lifespan holds under the name `auth`."""
    return _auth_of(connection)


def _auth_of(connection: HTTPConnection) -> Auth[Any]:
    auth: Auth[Any] = of_lifespan(connection.scope, "auth")
    return auth


async def client(connection: HTTPConnection) -> Client:
    """Where the connection comes from."""
    address = connection.client.host if connection.client is not None else ""
    return Client(address=address, device=connection.headers.get("user-agent", ""))


def cookie_name(connection: HTTPConnection) -> str:
    """`__Host-session` over https, where browsers then insist on Secure, Path=/ and no Domain; `session` otherwise."""
    return "__Host-session" if connection.url.scheme in {"https", "wss"} else "session"


def session_cookies(connection: HTTPConnection) -> list[str]:
    """The values of every session cookie that was sent, which should be one at most."""
    # Not Starlette's dictionary: it takes the last of two, and strips what a browser would not have taken for a space.
    wanted = cookie_name(connection)
    found: list[str] = []
    for header in connection.headers.getlist("cookie"):
        for pair in header.split(";"):
            name, separator, value = pair.strip(" \t").partition("=")
            if separator and name == wanted:
                found.append(value)
    return found


async def credentials(connection: HTTPConnection) -> Credentials:
    """What the connection brought.

    Raises:
        BadRequest: More than one kind of credentials in headers, or one of them or the cookie twice (RFC 6750,
            section 2): which of them was meant is not for the server to guess.
        Unauthorized: An `Authorization` of another scheme.
    """
    return _brought_by(connection)


def _brought_by(connection: HTTPConnection) -> Credentials:
    headers = connection.scope["headers"]
    # Made in C. Few headers stand in a request twice; then it is looked at which.
    sent = dict(headers)
    authorization, api_key = sent.get(b"authorization"), sent.get(b"x-api-key")
    is_repeated = len(sent) != len(headers) and sum(name in _CREDENTIAL_HEADERS for name, _ in headers) > 1
    if is_repeated or (authorization is not None and api_key is not None):
        raise BadRequest("Send one kind of credentials, once", code="INVALID_REQUEST")
    if authorization is not None:
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized
        return Credentials(bearer=token.strip(" \t"))
    if api_key is not None:
        return Credentials(api_key=api_key.decode("latin-1"))
    cookies = session_cookies(connection) if b"cookie" in sent else ()
    if len(cookies) > 1:
        raise BadRequest("There are two session cookies", code="INVALID_REQUEST")
    return Credentials(cookie=cookies[0] if cookies else None)


async def access_claims(
    sent: Annotated[Credentials, Depends(credentials)], auth: Annotated[Auth[Any], Depends(get_auth)]
) -> AccessClaims | None:
    """What the access token says, or `None` when the connection brought none. Its session has not been looked at.

    Raises:
        InvalidToken: It is forged, malformed or expired.
    """
    return _claimed(sent, auth)


def _claimed(sent: Credentials, auth: Auth[Any]) -> AccessClaims | None:
    return None if sent.bearer is None else auth.tokens.verify(sent.bearer)


async def allowed_origins(connection: HTTPConnection) -> Collection[str]:
    """Whose pages may act with a session cookie: what the lifespan's state holds as `allowed_origins`."""
    origins: Collection[str] = getattr(connection.state, "allowed_origins", ())
    return origins


async def optional_principal(connection: HTTPConnection, session: Session) -> Principal[Any] | None:
    """Who acts, or `None` when the connection brought nothing. A credential that does not hold is never "nobody".

    An API key is no user: it passes `require_scope` alone.

    Raises:
        InvalidToken: The access token or the cookie does not hold.
        Forbidden: The cookie came from a page of another origin with a method that changes something.
    """
    if has_overrides(connection):
        auth = await link(connection, get_auth, connection)
        sent = await link(connection, credentials, connection)
        claims = await link(connection, access_claims, sent, auth)
    else:
        # What these do, without asking each of them, for a quarter of the price.
        auth, sent = _auth_of(connection), _brought_by(connection)
        claims = _claimed(sent, auth)
    if claims is not None:
        found = await auth.authenticate(session, claims)
        if connection.scope["type"] == "websocket":
            await _let_go(session)
        context.principal.set(f"user:{claims.user_id}")
        return Principal.of(found, claims.expires_at)
    if sent.cookie is None:
        return None
    method = connection.scope.get("method", "GET")
    if connection.scope["type"] == "websocket" or method not in _SAFE_METHODS:
        check_origin(connection, await link(connection, allowed_origins, connection))
    found = await auth.authenticate_cookie(session, sent.cookie)
    if connection.scope["type"] == "websocket":
        await _let_go(session)
    context.principal.set(f"user:{found.user.id}")
    return Principal.of(found)


async def _let_go(session: AsyncSession) -> None:
    # A socket's session lasts as long as the socket: with a connection, a dozen idle ones would use up the pool.
    if isinstance(session, LazySession) and session.is_used:
        await session.commit()


def check_origin(connection: HTTPConnection, origins: Collection[str]) -> None:
    """Refuse a connection whose `Origin` is not one of `origins`; none at all is refused too.

    A browser sends the cookie of its own accord, from any page; the origin says from which (RFC 6454, section 7).

    Raises:
        Forbidden: The origin is missing, `null`, or another.
        ValueError: `origins` is one text, of which every beginning would be an origin, or one of them is none.
    """
    allowed = known_origins("allowed_origins", origins)
    sent = connection.headers.getlist("origin")
    if len(sent) != 1 or sent[0] == "null" or sent[0] not in allowed:
        logger.warning("origin_refused", path=connection.url.path)
        raise Forbidden("This origin is not allowed")


class _CurrentPrincipal(SecurityBase):
    # One of its three schemes is itself: a step less for FastAPI, of which each costs 10 to 25 microseconds.
    model = OAuth2Model(
        flows=OAuthFlows(password=OAuthFlowPassword(tokenUrl="/auth/login", scopes={})),
        description="Logs in and sends the access token",
    )
    scheme_name = "OAuth2PasswordBearer"

    async def __call__(
        self,
        connection: HTTPConnection,
        principal: Annotated[Principal[Any] | None, Depends(optional_principal)],
        _token: Annotated[None, Depends(access_token_scheme)],
        _cookie: Annotated[None, Depends(_session_cookie)],
    ) -> Principal[Any]:
        if principal is None:
            sent = await link(connection, credentials, connection)
            raise Unauthorized if sent.api_key is None else Unauthorized("An API key is not accepted here")
        return principal


current_principal: Final = _CurrentPrincipal()
"""Who acts, in which session.

Raises:
    Unauthorized: Nobody; an API key is not a user.
"""


async def current_user(principal: Annotated[Principal[Any], Depends(current_principal)]) -> AuthUser:
    """The user who acts; in a route's parameters `CurrentUser[User]` with your own model."""
    user: AuthUser = principal.user
    return user


async def optional_user(
    principal: Annotated[Principal[Any] | None, Depends(optional_principal)],
) -> AuthUser | None:
    """The user who acts, or `None` for an anonymous request; `OptionalUser[User]`."""
    return None if principal is None else principal.user


async def current_role(user: Annotated[AuthUser, Depends(current_user)]) -> str:
    """The role of the user who acts, which `require_role(...)` and `require_owner(...)` ask for."""
    return user.role


CurrentUser: TypeAlias = Annotated[U, Depends(current_user)]
"""The user who acts, as a parameter: `user: CurrentUser[User]`."""

OptionalUser: TypeAlias = Annotated[U | None, Depends(optional_user)]
"""The user who acts or nobody, as a parameter: `user: OptionalUser[User]`."""


async def optional_api_key(connection: HTTPConnection, session: Session) -> AuthApiKey | None:
    """The API key of the connection, or `None` when it brought none.

    Raises:
        InvalidApiKey: It does not hold.
    """
    sent = await link(connection, credentials, connection)
    if sent.api_key is None:
        return None
    auth = await link(connection, get_auth, connection)
    key = await auth.api_keys.authenticate(session, sent.api_key)
    if connection.scope["type"] == "websocket":
        await _let_go(session)
    context.principal.set(f"key:{key.id}")
    return key


async def by_principal(
    connection: HTTPConnection,
    principal: Annotated[Principal[Any] | None, Depends(optional_principal)],
    api_key: Annotated[AuthApiKey | None, Depends(optional_api_key)],
) -> str:
    """Who is limited together, for `RateLimit(..., key=by_principal)`: each user, each API key, else each address."""
    if principal is not None:
        return f"user:{principal.user.id}"
    return f"key:{api_key.id}" if api_key is not None else await by_address(connection)


# By position alone: `Depends(require_scope)`, with the call forgotten, would take `?scope=` for its argument and pass.
def require_scope(scope: str, /) -> Callable[..., Awaitable[AuthApiKey]]:
    """A dependency that gives the request's API key when it has `scope`.

    Raises:
        ValueError: At once, when it is no scope (RFC 6749, section 3.3): empty, with a space, a quote or a backslash,
            or not in ASCII, which no header could name.
    """
    check_scope(scope)

    async def require_api_key(
        key: Annotated[AuthApiKey | None, Depends(optional_api_key)],
        _header: Annotated[None, Depends(_api_key_header)],
    ) -> AuthApiKey:
        if key is None:
            raise InvalidApiKey
        if scope not in key.scopes:
            logger.warning("forbidden", key_id=key.id, required=scope)
            challenge = f'ApiKey realm="api", error="insufficient_scope", scope="{scope}"'
            raise Forbidden(headers={"WWW-Authenticate": challenge})
        return key

    _scope_guards.add(require_api_key)
    return require_api_key


def is_scope_guard(dependency: object) -> bool:
    """Whether `dependency` was made by `require_scope`."""
    return dependency in _scope_guards
