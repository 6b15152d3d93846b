"""The routes of auth, thin over `Auth`."""

from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Depends, Path, Query, Response
from fastapi.dependencies.utils import get_dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends as DependsMark
from starlette.requests import HTTPConnection, Request

from hardpoint.auth.base import Client
from hardpoint.auth.core import WS_TICKET_SECONDS, Auth
from hardpoint.auth.dependencies import (
    Principal,
    allowed_origins,
    check_origin,
    client,
    cookie_name,
    current_principal,
    get_auth,
    optional_principal,
    session_cookies,
)
from hardpoint.auth.schemas import (
    ApiKeyOut,
    ForgotPassword,
    LoginFormBody,
    NewApiKey,
    NewApiKeyOut,
    RefreshTokenIn,
    Register,
    Registration,
    ResetPassword,
    SessionOut,
    TokenIn,
    TokenPairOut,
    WsTicketOut,
)
from hardpoint.db import Database, Page, PageParams, Session
from hardpoint.db.session import get_database
from hardpoint.errors import (
    Forbidden,
    InvalidCredentials,
    InvalidToken,
    NotFound,
    RateLimited,
    ServiceUnavailable,
    TokenReused,
    Unauthorized,
    ValidationFailed,
    responses,
)
from hardpoint.errors.validation import without_inputs
from hardpoint.log import get_logger
from hardpoint.resolving import resolved
from hardpoint.routing import StrictJSONRoute

__all__ = ["api_keys_router", "auth_router", "jwks_router", "ws_ticket_router"]

AuthService = Annotated[Auth[Any], Depends(get_auth)]
CurrentPrincipal = Annotated[Principal[Any], Depends(current_principal)]
ClientOf = Annotated[Client, Depends(client)]

logger = get_logger("hardpoint.auth")


class _QuietRoute(StrictJSONRoute):
    """A route whose validation errors hold no input.

    FastAPI's own handler, in an application without `install_error_handlers`, sends back what was sent: of a missing
    member that is the whole body, with the password in it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def quiet_handler(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                raise RequestValidationError(without_inputs(error.errors())) from None

        return quiet_handler


# What every new account gets without being asked, and the name of what is beside an account's columns.
_NOT_OF_A_CLIENT = frozenset(
    {"created_at", "email_key", "email_verified", "is_active", "password_hash", "role", "session"}
)
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_JWKS_MAX_AGE_SECONDS = 300
# RFC 8037, appendix A.2.
_EXAMPLE_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "kid": "2026-11",
    "alg": "EdDSA",
    "use": "sig",
}


async def session_to_end(
    connection: HTTPConnection,
    auth: AuthService,
    session: Session,
    body: RefreshTokenIn | None = None,
) -> str | None:
    """The session that a logout ends: of the refresh token in the body or, without one, of who asks.

    `None` of a refresh token or a cookie that does not hold: a page cannot remove the cookie, so a logout has to.

    Raises:
        InvalidToken: The access token does not hold.
        Unauthorized: There is nothing.
    """
    if body is not None:
        return await auth.session_of_refresh_token(session, body.refresh_token)
    # Not a parameter: an access token that has expired must not keep out who brings a refresh token.
    asks = get_dependant(path="/", call=_who_asks)
    try:
        async with resolved(asks, connection.scope, overrides=connection.scope.get("app")) as found:
            principal = await _who_asks(**found)
    except InvalidToken:
        if "authorization" in connection.headers or not session_cookies(connection):
            raise
        return None
    if principal is None:
        raise Unauthorized
    return principal.session.id


async def _who_asks(
    principal: Annotated[Principal[Any] | None, Depends(optional_principal)],
) -> Principal[Any] | None:
    return principal


_auth = APIRouter(route_class=_QuietRoute)
_tickets = APIRouter(route_class=_QuietRoute)


@_auth.post("/verify-email", status_code=204, summary="Prove an address", responses=responses(ValidationFailed))
async def verify_email(sent: TokenIn, auth: AuthService, session: Session) -> None:
    """Takes the token of the verification mail, once."""
    await auth.verify_email(session, sent.token)


@_auth.post(
    "/login",
    summary="Log in",
    response_model=TokenPairOut,
    responses={
        204: {"description": "With `session=cookie`: the session is in a cookie"},
        **responses(InvalidCredentials, Forbidden, ValidationFailed, RateLimited, ServiceUnavailable),
    },
)
async def login(
    request: Request,
    form: LoginFormBody,
    auth: AuthService,
    session: Session,
    login_client: ClientOf,
    origins: Annotated[Collection[str], Depends(allowed_origins)],
    response: Response,
    kind: Annotated[
        Literal["cookie"] | None,
        Query(alias="session", description="`cookie` for a session cookie instead of tokens"),
    ] = None,
) -> Any:
    """For this service's own clients: the password grant is not for third parties (RFC 9700, section 2.4)."""
    if kind == "cookie" and "origin" in request.headers:
        # A foreign page must not put its visitors into an account of its own.
        check_origin(request, origins)
    found = await auth.log_in(session, email=form.username, password=form.password, client=login_client)
    if kind == "cookie":
        answer = Response(status_code=204, headers=_NO_STORE)
        _set_cookie(request, answer, auth.cookie_of(found.session), max_age=int(auth.lifetime.total_seconds()))
        return answer
    response.headers.update(_NO_STORE)
    return TokenPairOut.model_validate(auth.tokens_of(found.session), from_attributes=True)


@_auth.post(
    "/refresh",
    summary="Exchange a refresh token for a new pair",
    responses=responses(InvalidToken, TokenReused, ValidationFailed),
)
async def refresh(sent: RefreshTokenIn, auth: AuthService, session: Session, response: Response) -> TokenPairOut:
    """A refresh token is good once; one that comes back later ends its session."""
    pair = await auth.refresh(session, sent.refresh_token)
    response.headers.update(_NO_STORE)
    return TokenPairOut.model_validate(pair, from_attributes=True)


@_auth.post(
    "/logout", status_code=204, summary="Log out", responses=responses(InvalidToken, Forbidden, ValidationFailed)
)
async def logout(
    request: Request,
    session_id: Annotated[str | None, Depends(session_to_end)],
    auth: AuthService,
    session: Session,
) -> Response:
    """Ends the session of the token or cookie; it stops working with the next request.

    With a refresh token in the body no other credential is needed, so that a client whose access token has expired can
    log out. As in RFC 7009, section 2.2, a refresh token that is good no more is no error, nor is a cookie.
    """
    if session_id is not None:
        await auth.log_out(session, session_id)
    return _forgetting_cookie(request)


@_auth.get("/sessions", summary="One's own sessions", responses=responses(InvalidToken, ValidationFailed))
async def list_sessions(
    principal: CurrentPrincipal,
    auth: AuthService,
    session: Session,
    page: PageParams,
) -> Page[SessionOut]:
    """Those that are alive, newest first."""
    store, now, user_id = auth.store(session), auth.now(), principal.user.id

    async def living(after: tuple[Any, ...] | None, limit: int) -> Sequence[Any]:
        begin: Any = after
        return await store.living_sessions(
            user_id, now=now, lifetime=auth.lifetime, idle=auth.idle, limit=limit, after=begin
        )

    found = await page.of_rows(SessionOut, living, key={"created_at": datetime, "id": str})
    for item in found.items:
        item.current = item.id == principal.session.id
    return found


@_auth.delete("/sessions", status_code=204, summary="Log out everywhere", responses=responses(InvalidToken, Forbidden))
async def end_sessions(request: Request, principal: CurrentPrincipal, auth: AuthService, session: Session) -> Response:
    """Ends all of one's own sessions, this one too."""
    await auth.end_sessions(session, principal.user.id)
    return _forgetting_cookie(request)


@_auth.delete(
    "/sessions/{session_id}",
    status_code=204,
    summary="End one of one's own sessions",
    responses=responses(InvalidToken, Forbidden, NotFound, ValidationFailed),
)
async def end_session(
    session_id: Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,32}$")],
    principal: CurrentPrincipal,
    auth: AuthService,
    session: Session,
) -> None:
    """Its tokens stop working with the next request."""
    await auth.revoke_own_session(session, user_id=principal.user.id, session_id=session_id)


@_auth.post(
    "/forgot-password",
    status_code=202,
    summary="Ask for a mail that permits a new password",
    response_class=Response,
    responses=responses(ValidationFailed, RateLimited),
)
async def forgot_password(
    sent: ForgotPassword,
    auth: AuthService,
    session: Session,
    database: Annotated[Database, Depends(get_database)],
    background: BackgroundTasks,
) -> None:
    """The answer is the same whether the address has an account or not, and takes the same time."""
    # A question that costs the same either way, and tells of an outage; what differs comes after the answer.
    if await auth.store(session).user_by_email(sent.email) is not None:
        background.add_task(_send_reset, auth, database, sent.email)


async def _send_reset(auth: Auth[Any], database: Database, email: str) -> None:
    try:
        async with database.session() as session:
            await auth.forgot_password(session, email)
    except Exception as error:
        # Nobody hears of it but the log: the answer has been sent.
        logger.exception("reset_not_sent", error=type(error).__name__)


@_auth.post(
    "/reset-password",
    status_code=204,
    summary="Set a new password by a mail's token",
    responses=responses(ValidationFailed, ServiceUnavailable),
)
async def reset_password(sent: ResetPassword, auth: AuthService, session: Session) -> None:
    """Every session of the user ends."""
    await auth.reset_password(session, sent.token, sent.password)


@_tickets.post(
    "/ws-ticket",
    status_code=201,
    summary="A ticket that opens one WebSocket",
    responses=responses(InvalidToken, Forbidden),
)
async def ws_ticket(principal: CurrentPrincipal, auth: AuthService, session: Session) -> WsTicketOut:
    """Good once, for 30 seconds, as `?token=` of `/ws`: what leaks from an address is worth nothing by then."""
    ticket = await auth.new_ws_ticket(session, principal.user, principal.session.id)
    return WsTicketOut(ticket=ticket, expires_in=WS_TICKET_SECONDS)


def _set_cookie(request: Request, response: Response, value: str, *, max_age: int) -> None:
    response.set_cookie(
        cookie_name(request),
        value,
        max_age=max_age,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def _forgetting_cookie(request: Request) -> Response:
    response = Response(status_code=204)
    if session_cookies(request):
        _set_cookie(request, response, "", max_age=0)
    return response


def auth_router(*, registration: type[Registration] | None = Register, ws_tickets: bool = True) -> APIRouter:
    """The routes under `/auth`.

    Args:
        registration: What a registration takes. A subclass of `Registration` adds members, each of which is a column of
            your user's model, with the member's default when it was not sent; `None` leaves the route out, where
            accounts are made by invitation.
        ws_tickets: Whether that of `ws_ticket_router` is one of them; of no use to a service without WebSockets.

    Raises:
        ValueError: `registration` has a member of which auth decides, such as `role`.
        TypeError: `registration` is no subclass of `Registration`.
    """
    given: Any = registration
    if given is not None and not (isinstance(given, type) and issubclass(given, Registration)):
        raise TypeError(f"registration takes a subclass of Registration, or None for no such route, not {given!r}")
    router = APIRouter(prefix="/auth", tags=["auth"], route_class=_QuietRoute)
    if registration is not None:
        router.add_api_route(
            "/register",
            _register_route(registration),
            methods=["POST"],
            status_code=202,
            summary="Make an account",
            response_class=Response,
            responses=responses(ValidationFailed, RateLimited, ServiceUnavailable),
        )
    router.include_router(_auth)
    if ws_tickets:
        router.include_router(_tickets)
    return router


def ws_ticket_router() -> APIRouter:
    """`POST /auth/ws-ticket`."""
    router = APIRouter(prefix="/auth", tags=["auth"])
    router.include_router(_tickets)
    return router


def _register_route(registration: type[Registration]) -> Any:
    further = registration.model_fields.keys() - {"email", "password"}
    if decided := sorted(further & _NOT_OF_A_CLIENT):
        raise ValueError(f"A registration cannot have {', '.join(decided)}, which auth decides; take another name")

    async def register(
        new: registration,  # type: ignore[valid-type] # a class that is known when the router is made
        auth: AuthService,
        session: Session,
    ) -> None:
        """The answer is the same for a new and for a known address; a mail tells the difference to its owner."""
        sent: Registration = new
        columns = {name: getattr(sent, name) for name in further}
        # What was left out and is `None` then is left to the column's own default.
        columns = {name: value for name, value in columns.items() if value is not None or name in sent.model_fields_set}
        await auth.register(session, email=sent.email, password=sent.password, **columns)

    return register


def api_keys_router(*, guard: Any) -> APIRouter:
    """The routes under `/api-keys`.

    Args:
        guard: The dependency that decides who manages keys, such as `Depends(require_role("admin"))`.

    Raises:
        TypeError: `guard` is not in a `Depends`.
    """
    if not isinstance(guard, DependsMark):
        raise TypeError(f"guard takes Depends(require_role('admin')) or the like, not {guard!r}")
    router = APIRouter(
        prefix="/api-keys",
        tags=["api keys"],
        dependencies=[guard],
        route_class=_QuietRoute,
        responses=responses(InvalidToken, Forbidden, ValidationFailed),
    )

    @router.post("", status_code=201, summary="Make an API key")
    async def create_api_key(new: NewApiKey, auth: AuthService, session: Session, response: Response) -> NewApiKeyOut:
        """The answer has the key's text, this once."""
        key, text = await auth.api_keys.create(session, name=new.name, scopes=new.scopes, expires_at=new.expires_at)
        response.headers.update(_NO_STORE)
        return NewApiKeyOut.model_validate({**ApiKeyOut.model_validate(key).model_dump(), "key": text})

    @router.get("", summary="The API keys")
    async def list_api_keys(auth: AuthService, session: Session, page: PageParams) -> Page[ApiKeyOut]:
        """Those that are not revoked, newest first."""
        store = auth.store(session)

        async def living(after: tuple[Any, ...] | None, limit: int) -> Sequence[Any]:
            return await store.living_api_keys(limit=limit, before=after[0] if after else None)

        return await page.of_rows(ApiKeyOut, living, key={"id": int})

    @router.delete("/{key_id}", status_code=204, summary="Revoke an API key", responses=responses(NotFound))
    async def revoke_api_key(
        key_id: Annotated[int, Path(ge=1, le=2**63 - 1)], auth: AuthService, session: Session
    ) -> None:
        """It stops working with the next request."""
        await auth.api_keys.revoke(session, key_id)

    return router


def jwks_router() -> APIRouter:
    """`/.well-known/jwks.json` (RFC 7517): the public keys, none while a secret signs."""
    router = APIRouter(tags=["auth"])

    @router.get(
        "/.well-known/jwks.json",
        summary="The public keys that verify access tokens",
        responses={200: {"content": {"application/json": {"example": {"keys": [_EXAMPLE_KEY]}}}}},
    )
    async def jwks(auth: AuthService, response: Response) -> dict[str, list[dict[str, Any]]]:
        """A JWK Set (RFC 7517, section 5)."""
        response.headers["Cache-Control"] = f"public, max-age={_JWKS_MAX_AGE_SECONDS}"
        return auth.tokens.keys.jwks()

    return router
