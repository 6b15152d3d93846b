"""What the routes of auth take and give."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import Form
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from hardpoint.auth.email import EmailAddress

__all__ = [
    "ApiKeyOut",
    "ForgotPassword",
    "LoginForm",
    "NewApiKey",
    "NewApiKeyOut",
    "Password",
    "RefreshTokenIn",
    "Register",
    "Registration",
    "ResetPassword",
    "SessionOut",
    "TokenIn",
    "TokenPairOut",
    "WsTicketOut",
]


def _no_control_characters(value: str) -> str:
    if not value.isprintable():
        raise ValueError("Must not contain control characters")
    return value


def _utc_z(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# Long enough for any policy; what is longer is no password but an attack.
Password = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_no_control_characters),
]
ScopeName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9:._-]{0,63}$")]
Timestamp = Annotated[datetime, PlainSerializer(_utc_z, return_type=str, when_used="json")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Registration(_Request):
    """What every registration has; subclass it for more."""

    email: EmailAddress
    password: Password


class Register(Registration):
    """A new account."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"email": "ann@example.com", "password": "plenty of words make it safe", "name": "Ann"}],
        },
    )

    name: Name | None = None


class LoginForm(BaseModel):
    """The form of the OAuth 2.0 password grant (RFC 6749, section 4.3.2), which Swagger UI sends.

    `scope`, `client_id` and `client_secret` are taken and give no rights.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"username": "ann@example.com", "password": "plenty of words make it safe"}]},
    )

    username: Annotated[str, StringConstraints(min_length=1, max_length=320)] = Field(examples=["ann@example.com"])
    password: Password = Field(examples=["plenty of words make it safe"])
    grant_type: Literal["password"] | None = None
    scope: str = ""
    client_id: str | None = None
    client_secret: str | None = None


LoginFormBody = Annotated[LoginForm, Form()]


class TokenPairOut(BaseModel):
    """An access token for the `Authorization` header, and the refresh token that gives the next pair, once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "access_token": "eyJhbGciOi…",
                    "refresh_token": "Yx3k…",
                    "token_type": "bearer",
                    "expires_in": 900,
                },
            ],
        },
    )

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the type's name.
    expires_in: int = Field(description="The access token's life in seconds")


class RefreshTokenIn(_Request):
    """A refresh token."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"refresh_token": "Yx3k…"}]})

    refresh_token: Token


class TokenIn(_Request):
    """The token of a mail."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"token": "p0hW…"}]})

    token: Token


class ForgotPassword(_Request):
    """Whose password is forgotten."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "ann@example.com"}]})

    email: EmailAddress


class ResetPassword(_Request):
    """The token of a mail, and the password to set."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"token": "p0hW…", "password": "plenty of words make it safe"}]},
    )

    token: Token
    password: Password


class WsTicketOut(BaseModel):
    """What opens one WebSocket."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ticket": "p0hW…", "expires_in": 30}]})

    ticket: str
    expires_in: int


class SessionOut(BaseModel):
    """One login."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "8kXb…",
                    "device": "Mozilla/5.0",
                    "address": "203.0.113.7",
                    "created_at": "2026-11-23T10:00:00.000000Z",
                    "last_seen_at": "2026-11-23T10:15:00.000000Z",
                    "current": True,
                },
            ],
        },
    )

    id: str
    device: str = Field(description="The user agent at login")
    address: str = Field(description="The address at login")
    created_at: Timestamp
    last_seen_at: Timestamp = Field(description="The login or the last refresh")
    current: bool = Field(default=False, description="Whether this request is part of it")


# A day before the last: a driver may read a moment in the database's own zone, where the last one's end is no date.
_LAST_MOMENT: Final = datetime(9999, 12, 31, tzinfo=UTC)


def _in_the_future(moment: datetime) -> datetime:
    # An aware moment compares as what it is in UTC, also where it could not be written in UTC.
    if moment <= datetime.now(UTC):
        raise PydanticCustomError("datetime_future", "Must be in the future")
    if moment >= _LAST_MOMENT:
        raise PydanticCustomError("datetime_range", "Must be before the last day of the year 9999")
    return moment.astimezone(UTC)


def _text(value: object) -> object:
    # A number is a moment to Pydantic, also as text, and none to whoever reads the document.
    if not isinstance(value, str) or "-" not in value[1:]:
        raise PydanticCustomError("datetime_type", "Input should be a date and time as text")
    return value


FutureMoment = Annotated[AwareDatetime, BeforeValidator(_text), AfterValidator(_in_the_future)]


class NewApiKey(_Request):
    """An API key to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "prometheus", "scopes": ["metrics"]}]})

    name: Name
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=20)]
    expires_at: FutureMoment | None = None


class ApiKeyOut(BaseModel):
    """An API key, without its secret."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": 3,
                    "name": "prometheus",
                    "scopes": ["metrics"],
                    "created_at": "2026-11-23T10:00:00.000000Z",
                    "expires_at": None,
                    "last_used_at": None,
                },
            ],
        },
    )

    id: int
    name: str
    scopes: list[str]
    created_at: Timestamp
    expires_at: Timestamp | None
    last_used_at: Timestamp | None


class NewApiKeyOut(ApiKeyOut):
    """An API key with its text, which is shown this once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 3,
                    "name": "prometheus",
                    "scopes": ["metrics"],
                    "created_at": "2026-11-23T10:00:00.000000Z",
                    "expires_at": None,
                    "last_used_at": None,
                    "key": "hp_3_…",
                },
            ],
        },
    )

    key: str
