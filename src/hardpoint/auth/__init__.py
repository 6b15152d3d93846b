"""Accounts, sessions, tokens, roles, API keys over an application's own models, as plain dependencies and routers."""

from hardpoint.auth.accounts import Accounts
from hardpoint.auth.base import Client
from hardpoint.auth.cache import PrincipalCache, open_principal_cache
from hardpoint.auth.core import Auth
from hardpoint.auth.dependencies import (
    OPTIONAL_SECURITY,
    Credentials,
    CurrentUser,
    OptionalUser,
    Principal,
    access_claims,
    allowed_origins,
    by_principal,
    check_origin,
    client,
    credentials,
    current_principal,
    current_role,
    current_user,
    get_auth,
    optional_api_key,
    optional_principal,
    optional_user,
    require_scope,
)
from hardpoint.auth.email import EmailAddress, email_key
from hardpoint.auth.guards import unguarded_routes
from hardpoint.auth.keys import Key, KeySet
from hardpoint.auth.lifespan import auth_lifespan
from hardpoint.auth.memory import MemoryDatabase, MemorySession, MemoryStore, MemoryUser
from hardpoint.auth.models import ApiKeyMixin, AuthSessionMixin, OneTimeTokenMixin, UserMixin, UUIDUserMixin
from hardpoint.auth.ownership import require_owner
from hardpoint.auth.passwords import PasswordHasher, PasswordPolicy
from hardpoint.auth.protocols import (
    ApiKeyStore,
    AuthApiKey,
    AuthNotifier,
    AuthSession,
    AuthStore,
    AuthUser,
    LoginLimiter,
    SessionAndUser,
    SessionStore,
    TakenToken,
    TokenStore,
    UserId,
    UserStore,
)
from hardpoint.auth.roles import Roles
from hardpoint.auth.routes import api_keys_router, auth_router, jwks_router, ws_ticket_router
from hardpoint.auth.schemas import NewApiKey, Password, Register, Registration
from hardpoint.auth.sessions import Sessions, TokenPair
from hardpoint.auth.sqlalchemy import AuthModels, SQLAlchemyStore
from hardpoint.auth.tokens import AccessClaims, AccessTokens, parse_user_id
from hardpoint.auth.unsaved import UnsavedSession

__all__ = [
    "OPTIONAL_SECURITY",
    "AccessClaims",
    "AccessTokens",
    "Accounts",
    "ApiKeyMixin",
    "ApiKeyStore",
    "Auth",
    "AuthApiKey",
    "AuthModels",
    "AuthNotifier",
    "AuthSession",
    "AuthSessionMixin",
    "AuthStore",
    "AuthUser",
    "Client",
    "Credentials",
    "CurrentUser",
    "EmailAddress",
    "Key",
    "KeySet",
    "LoginLimiter",
    "MemoryDatabase",
    "MemorySession",
    "MemoryStore",
    "MemoryUser",
    "NewApiKey",
    "OneTimeTokenMixin",
    "OptionalUser",
    "Password",
    "PasswordHasher",
    "PasswordPolicy",
    "Principal",
    "PrincipalCache",
    "Register",
    "Registration",
    "Roles",
    "SQLAlchemyStore",
    "SessionAndUser",
    "SessionStore",
    "Sessions",
    "TakenToken",
    "TokenPair",
    "TokenStore",
    "UUIDUserMixin",
    "UnsavedSession",
    "UserId",
    "UserMixin",
    "UserStore",
    "access_claims",
    "allowed_origins",
    "api_keys_router",
    "auth_lifespan",
    "auth_router",
    "by_principal",
    "check_origin",
    "client",
    "credentials",
    "current_principal",
    "current_role",
    "current_user",
    "email_key",
    "get_auth",
    "jwks_router",
    "open_principal_cache",
    "optional_api_key",
    "optional_principal",
    "optional_user",
    "parse_user_id",
    "require_owner",
    "require_scope",
    "unguarded_routes",
    "ws_ticket_router",
]
