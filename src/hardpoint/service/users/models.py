"""The tables of users and of what authenticates them."""

from hardpoint.auth import (
    ApiKeyMixin,  # new: api_keys
    AuthModels,
    AuthSessionMixin,
    OneTimeTokenMixin,
    UserMixin,
)

from hardpoint.service.base import Base

__all__ = [
    "AUTH_MODELS",
    "ApiKey",  # new: api_keys
    "AuthSession",
    "OneTimeToken",
    "User",
]


class User(UserMixin, Base):
    """Somebody with an account."""

    __tablename__ = "users"


class AuthSession(AuthSessionMixin, Base):
    """A login."""

    __tablename__ = "auth_sessions"


class OneTimeToken(OneTimeTokenMixin, Base):
    """A token that is good once, such as that of a mail."""

    __tablename__ = "one_time_tokens"


# new: if api_keys
class ApiKey(ApiKeyMixin, Base):
    """A key for a program."""

    __tablename__ = "api_keys"


# new: end if
AUTH_MODELS = AuthModels(
    user=User,
    session=AuthSession,
    token=OneTimeToken,
    api_key=ApiKey,  # new: api_keys
)
