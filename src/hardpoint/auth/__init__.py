"""Accounts, sessions, tokens, roles, API keys over an application's own models, as plain dependencies and routers."""

from hardpoint.auth.cache import PrincipalCache, open_principal_cache
from hardpoint.auth.core import Auth, Client, TokenPair
from hardpoint.auth.dependencies import (
    OPTIONAL_SECURITY,
    Credentials,
    Principal,
    allowed_origins,
    by_principal,
    check_origin,
    client,
    credentials,
    current_principal,
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
from hardpoint.auth.models import ApiKeyMixin, AuthSessionMixin, OneTimeTokenMixin, UserMixin
from hardpoint.auth.ownership import require_owner
from hardpoint.auth.passwords import PasswordHasher, PasswordPolicy
from hardpoint.auth.protocols import AuthNotifier, LoginLimiter
from hardpoint.auth.roles import Roles
from hardpoint.auth.routes import api_keys_router, auth_router, jwks_router, ws_ticket_router
from hardpoint.auth.schemas import NewApiKey, Password
from hardpoint.auth.store import AuthModels, AuthStore, SessionAndUser
from hardpoint.auth.tokens import AccessClaims, AccessTokens

__all__ = [
    "OPTIONAL_SECURITY",
    "AccessClaims",
    "AccessTokens",
    "ApiKeyMixin",
    "Auth",
    "AuthModels",
    "AuthNotifier",
    "AuthSessionMixin",
    "AuthStore",
    "Client",
    "Credentials",
    "EmailAddress",
    "Key",
    "KeySet",
    "LoginLimiter",
    "NewApiKey",
    "OneTimeTokenMixin",
    "Password",
    "PasswordHasher",
    "PasswordPolicy",
    "Principal",
    "PrincipalCache",
    "Roles",
    "SessionAndUser",
    "TokenPair",
    "UserMixin",
    "allowed_origins",
    "api_keys_router",
    "auth_router",
    "by_principal",
    "check_origin",
    "client",
    "credentials",
    "current_principal",
    "current_user",
    "email_key",
    "get_auth",
    "jwks_router",
    "open_principal_cache",
    "optional_api_key",
    "optional_principal",
    "optional_user",
    "require_owner",
    "require_scope",
    "unguarded_routes",
    "ws_ticket_router",
]
