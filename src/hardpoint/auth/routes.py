"""The routes of auth, thin over `Auth`."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from starlette.requests import HTTPConnection, Request

from hardpoint.auth.core import WS_TICKET_SECONDS, Auth, Client
from hardpoint.auth.dependencies import (
    Credentials,
    Principal,
    allowed_origins,
    client,
    cookie_name,
    credentials,
    current_principal,
    get_auth,
    optional_principal,
)
from hardpoint.auth.schemas import (
    ApiKeyOut,
    ForgotPassword,
    LoginFormBody,
    NewApiKey,
    NewApiKeyOut,
    RefreshTokenIn,
    Register,
    ResetPassword,
    SessionOut,
    TokenIn,
    TokenPairOut,
    WsTicketOut,
)
from hardpoint.db import Page, PageParams, Session
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
from hardpoint.routing import StrictJSONRoute

__all__ = ["api_keys_router", "auth_router", "jwks_router", "ws_ticket_router"]

AuthService = Annotated[Auth[Any], Depends(get_auth)]
CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
ClientOf = Annotated[Client, Depends(client)]

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
    sent: Annotated[Credentials, Depends(credentials)],
    auth: AuthService,
    session: Session,
    origins: Annotated[Collection[str], Depends(allowed_origins)],
    body: RefreshTokenIn | None = None,
) -> str | None:
    """The session that a logout ends: of the refresh token in the body or, without one, of who asks.

    Raises:
        Unauthorized: There is neither.
    """
    if body is not None:
        return await auth.session_of_refresh_token(session, body.refresh_token)
    principal = await optional_principal(connection, sent, auth, session, origins)
    if principal is None:
        raise Unauthorized
    return principal.session.id


_auth = APIRouter(prefix="/auth", tags=["auth"], route_class=StrictJSONRoute)


@_auth.post(
    "/register",
    status_code=202,
    summary="Make an account",
    response_class=Response,
    responses=responses(ValidationFailed, RateLimited, ServiceUnavailable),
)
async def register(new: Register, auth: AuthService, session: Session) -> None:
    """The answer is the same for a new and for a known address; a mail tells the difference to its owner."""
    await auth.register(session, email=new.email, password=new.password, name=new.name)


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
        **responses(InvalidCredentials, ValidationFailed, RateLimited, ServiceUnavailable),
    },
)
async def login(
    request: Request,
    form: LoginFormBody,
    auth: AuthService,
    session: Session,
    login_client: ClientOf,
    response: Response,
    kind: Annotated[
        Literal["cookie"] | None,
        Query(alias="session", description="`cookie` for a session cookie instead of tokens"),
    ] = None,
) -> Any:
    """For this service's own clients: the password grant is not for third parties (RFC 9700, section 2.4)."""
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
    log out. As in RFC 7009, section 2.2, a refresh token that is good no more is no error.
    """
    if session_id is not None:
        await auth.log_out(session, session_id)
    response = Response(status_code=204)
    if cookie_name(request) in request.cookies:
        _set_cookie(request, response, "", max_age=0)
    return response


@_auth.get("/sessions", summary="One's own sessions", responses=responses(InvalidToken, ValidationFailed))
async def list_sessions(
    principal: CurrentPrincipal,
    auth: AuthService,
    session: Session,
    page: PageParams,
) -> Page[SessionOut]:
    """Those that are alive, newest first."""
    store = auth.store(session)
    living = store.living_sessions(principal.user.id, now=auth.now(), lifetime=auth.lifetime, idle=auth.idle)
    found = await page.of(SessionOut, session, living, order_by=store.session_order)
    for item in found.items:
        item.current = item.id == principal.session.id
    return found


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
async def forgot_password(sent: ForgotPassword, auth: AuthService, session: Session) -> None:
    """The answer is the same whether the address has an account or not."""
    await auth.forgot_password(session, sent.email)


@_auth.post(
    "/reset-password",
    status_code=204,
    summary="Set a new password by a mail's token",
    responses=responses(ValidationFailed, ServiceUnavailable),
)
async def reset_password(sent: ResetPassword, auth: AuthService, session: Session) -> None:
    """Every session of the user ends."""
    await auth.reset_password(session, sent.token, sent.password)


_tickets = APIRouter(prefix="/auth", tags=["auth"], route_class=StrictJSONRoute)


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


def auth_router(*, ws_tickets: bool = True) -> APIRouter:
    """The routes under `/auth`.

    Args:
        ws_tickets: Whether that of `ws_ticket_router` is one of them; of no use to a service without WebSockets.
    """
    router = APIRouter()
    router.include_router(_auth)
    if ws_tickets:
        router.include_router(_tickets)
    return router


def ws_ticket_router() -> APIRouter:
    """`POST /auth/ws-ticket`."""
    return _tickets


def api_keys_router(*, guard: Any) -> APIRouter:
    """The routes under `/api-keys`.

    Args:
        guard: The dependency that decides who manages keys, such as `Depends(require_role("admin"))`.
    """
    router = APIRouter(
        prefix="/api-keys",
        tags=["api keys"],
        dependencies=[guard],
        route_class=StrictJSONRoute,
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
        return await page.of(ApiKeyOut, session, store.api_keys(), order_by=store.api_key_order)

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
