"""A service's settings: read once from the environment and `.env`, validated, then frozen.

Every refusal is here, one line for each fault, so that an operator sees all of them at once and never a traceback.
A service of your own subclasses `Settings`: its `model_config` has an `env_prefix` of its own, and whatever else it
reads are further fields.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from email.utils import getaddresses
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import from_json
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from hardpoint.cluster import CLUSTER_SCHEMES, parse_cluster_url
from hardpoint.log import instance_name
from hardpoint.origins import origin_of, read_origin
from hardpoint.sentinel import SENTINEL_SCHEMES, parse_sentinel_url

__all__ = ["ENV_PREFIX", "Settings", "SettingsError", "check_secret", "load_settings"]

ENV_PREFIX: Final = "HARDPOINT_"

_RATE: Final = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour)")
_ADDRESS: Final = re.compile(r"[!-~]+@[!-~]+")
# What the library says of a variable that should be JSON and is not.
_UNREADABLE: Final = re.compile(r'parsing value for field "(\w+)"')
_MIN_SECRET_BYTES: Final = 32
_MIN_DISTINCT_CHARACTERS: Final = 10
_LOG_FLUSH_SECONDS: Final = 0.05
# What documentation and examples show is what attackers try first.
_KNOWN_SECRETS: Final = frozenset(
    {"change-me-change-me-change-me-0123456789", "replace-this-secret-key-before-you-deploy"}
)
# Of a Valkey URL's options; see `hardpoint.valkey.make_client`, which some parts give values of their own.
_DECIDED_BY_PARTS: Final = frozenset(
    {"decode_responses", "max_connections", "retry", "socket_connect_timeout", "socket_timeout", "timeout"}
)
_DATABASES: Final = ("sqlite+aiosqlite", "postgresql+asyncpg", "postgresql+psycopg")

Seconds = Annotated[int, Field(ge=1)]


class SettingsError(Exception):
    """Settings were refused; `faults` has one readable line for each, without the refused value."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def check_secret(secret: str) -> str | None:
    """Why `secret` may not sign tokens, or `None` when it may: at least 32 bytes in UTF-8 and 10 distinct characters.

    RFC 7518, section 3.2 demands a key of at least the hash's 256 bits for HS256; the second rule refuses padding.
    """
    try:
        length = len(secret.encode())
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    if length < _MIN_SECRET_BYTES:
        return f"must be at least {_MIN_SECRET_BYTES} bytes long"
    if len(set(secret)) < _MIN_DISTINCT_CHARACTERS:
        return f"must have at least {_MIN_DISTINCT_CHARACTERS} distinct characters"
    if secret in _KNOWN_SECRETS:
        return "is a value from the documentation; make one of your own"
    return None


class Settings(BaseSettings):
    """What the reference service reads; a field's variable is its name in capitals after the class's prefix."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=False,
    )

    environment: Literal["development", "test", "production"] = "development"
    secret_key: Annotated[SecretStr | None, Field(validate_default=True)] = None
    signing_key_files: Annotated[tuple[Path, ...], NoDecode] = ()
    database_url: SecretStr | None = None
    database_pool_size: Annotated[int, Field(ge=1, le=1_000)] = 10
    database_max_overflow: Annotated[int, Field(ge=0, le=1_000)] = 5
    database_pool_timeout: Annotated[float, Field(gt=0, le=60)] = 3.0
    database_connect_timeout: Annotated[int, Field(ge=2, le=60)] = 5
    redis_url: SecretStr | None = None
    data_dir: Path = Path(".hardpoint")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    rate_limit: str = "600/minute"
    login_rate_limit: str = "10/minute"
    access_token_ttl: Annotated[int, Field(ge=1, le=86_400)] = 900
    refresh_token_ttl: Annotated[int, Field(ge=1, le=315_360_000)] = 2_592_000
    email_verification: Literal["required", "optional"] = "required"
    ws_query_access_tokens: bool | None = None
    max_body_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    smtp_url: SecretStr | None = None
    public_url: str | None = None
    smtp_from: str = "hardpoint@localhost"
    log_format: Literal["json", "console"] | None = None
    instance: Annotated[str | None, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")] = None
    docs: bool | None = None

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a field, `HARDPOINT_DATA_DIR` of `data_dir`; of one with an alias, that."""
        info = cls.model_fields.get(field)
        alias = None if info is None else info.validation_alias
        return (alias if isinstance(alias, str) else f"{cls.model_config['env_prefix']}{field}").upper()

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """The settings from the environment and `.env`.

        Args:
            **overrides: Field values that win over both.

        Raises:
            SettingsError: At least one is refused; all faults are in it. Of lists and mappings that are not written as
                JSON the first is told alone.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise SettingsError(
                _fault(cls, item) for item in error.errors(include_url=False, include_input=False)
            ) from None
        except UnreadableSetting as error:
            raise SettingsError([_unreadable(cls, str(error))]) from None
        except UnicodeDecodeError:
            raise SettingsError([".env: is not UTF-8 text"]) from None
        except OSError as error:
            if error.filename is None:
                raise
            raise SettingsError([f"{error.filename}: cannot be read: {type(error).__name__}"]) from error

    @property
    def is_production(self) -> bool:
        """Whether the strict defaults of production hold."""
        return self.environment == "production"

    @property
    def is_embedded_database(self) -> bool:
        """Whether the database is the service's own SQLite file, which it may migrate itself."""
        return self.database_url is None

    @property
    def resolved_database_url(self) -> str:
        """The database to use: the given one, or a SQLite file under the data folder."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        name = str(self.model_config["env_prefix"]).strip("_").lower() or "service"
        # In an address these two have a meaning of their own.
        path = f"{self.data_dir.absolute() / name}.db".replace("%", "%25").replace("?", "%3F")
        return f"sqlite+aiosqlite:///{path}"

    @property
    def resolved_public_url(self) -> str:
        """The service's own address in links, without a slash at its end."""
        return (self.public_url or "http://127.0.0.1:8000").rstrip("/")

    @property
    def public_origin(self) -> str:
        """The origin of the service's own pages, as browsers send it (RFC 6454, section 6.2)."""
        return origin_of(self.resolved_public_url)

    @property
    def resolved_instance(self) -> str:
        """What logs and metrics call this instance: the given name, or `host:pid`."""
        return self.instance or instance_name()

    @property
    def accepts_access_tokens_in_ws_query(self) -> bool:
        """Whether `?token=` on `/ws` takes an access token besides a ticket; not in production unless asked for."""
        return not self.is_production if self.ws_query_access_tokens is None else self.ws_query_access_tokens

    @property
    def log_flush_seconds(self) -> float:
        """How long log lines below a warning may wait to be written together; only in production, where many are."""
        return _LOG_FLUSH_SECONDS if self.is_production else 0.0

    @property
    def shows_docs(self) -> bool:
        """Whether `/docs`, `/redoc` and `/openapi.json` are served; not in production unless asked for."""
        return not self.is_production if self.docs is None else self.docs

    @field_validator("signing_key_files", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return from_json(value)
            except ValueError:
                raise ValueError("is neither a JSON list nor a comma-separated one") from None
        return [item.strip() for item in value.split(",") if item.strip()]

    @field_validator("signing_key_files")
    @classmethod
    def _check_files(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        # A path is told when the file cannot be read, and a key that was pasted here must not be.
        if any("-----BEGIN" in str(path) or not str(path).isprintable() for path in value):
            raise ValueError("has an entry that is no path; name PEM files, do not put their text here")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in value:
            raise ValueError("'*' cannot be combined with the credentials that this service uses; name the origins")
        try:
            found = tuple(read_origin(entry) for entry in value)
        except ValueError:
            found = ("",)
        if not all(origin.startswith(("http://", "https://")) for origin in found):
            raise ValueError("has an entry that is not an origin; write each as https://host[:port], without a path")
        return found

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for entry in value:
            if entry == "unix":
                continue
            try:
                network = ip_network(entry, strict=False)
            except ValueError:
                raise ValueError("has an entry that is neither an address nor a network") from None
            if network.prefixlen == 0 and info.data.get("environment") == "production":
                raise ValueError("must not trust every address in production")
        return value

    @field_validator("rate_limit", "login_rate_limit")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        if value != "off" and not _RATE.fullmatch(value):
            raise ValueError("must be N/second, N/minute, N/hour or off")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: SecretStr) -> SecretStr:
        scheme, separator, _ = value.get_secret_value().partition("://")
        if scheme not in _DATABASES or not separator:
            raise ValueError(f"must begin with one of {', '.join(name + '://' for name in _DATABASES)}")
        if not scheme.startswith("sqlite"):
            _split_address(value.get_secret_value())
        return value

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        scheme = url.partition("://")[0]
        if scheme in SENTINEL_SCHEMES:
            parse_sentinel_url(url)
            return value
        if scheme in CLUSTER_SCHEMES:
            parse_cluster_url(url)
            return value
        _with_scheme(value, ("redis", "rediss", "unix", "valkey", "valkeys"))
        if decided := sorted(_DECIDED_BY_PARTS & dict(parse_qsl(url.partition("?")[2])).keys()):
            raise ValueError(f"must not set {', '.join(decided)}")
        # What else it sets the client's library knows, which whoever sets none need not have.
        with suppress(ModuleNotFoundError):
            from hardpoint.valkey import make_client  # noqa: PLC0415

            make_client(url)
        return value

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp(cls, value: SecretStr) -> SecretStr:
        parts = _split_address(value.get_secret_value())
        if parts.path.strip("/") or parts.query or parts.fragment:
            # Usually a password with one of these characters, which has to be percent-encoded.
            raise ValueError("must be smtp://user:password@host:port, with /, ? and # in them percent-encoded")
        return _with_scheme(value, ("smtp", "smtps"))

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        parts = _split_address(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not {"?", "#"}.isdisjoint(value):
            raise ValueError("must be an http or https address without query and fragment")
        if "@" in parts.netloc or " " in value or not value.isprintable():
            # It stands in mails and tokens; and the library overlooks a line's end.
            raise ValueError("must not have a user, a password, spaces or control characters")
        origin_of(value)
        return value

    @field_validator("smtp_from")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        # What is none is found out with the first mail, and that is lost.
        found = [address for _, address in getaddresses([value])]
        address, written = found[0] if len(found) == 1 else "", value.strip()
        is_whole = written == address or written.endswith(f"<{address}>")
        if not is_whole or not _ADDRESS.fullmatch(address) or not value.isprintable():
            raise ValueError('must be an e-mail address in ASCII; with a name: "Shop, Inc." <shop@example.com>')
        return written

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            if info.data.get("environment") == "production":
                raise ValueError("must be set in production")
        elif (reason := check_secret(value.get_secret_value())) is not None:
            raise ValueError(reason)
        return value


def _has_readable_port(address: str) -> bool:
    try:
        # Looked at here: the library reads it only when it is asked for.
        return urlsplit(address).port != 0
    except ValueError:
        return False


def _split_address(address: str) -> SplitResult:
    if not _has_readable_port(address):
        raise ValueError("has a port, or a host, that cannot be read")
    return urlsplit(address)


def _with_scheme(value: SecretStr, schemes: tuple[str, ...]) -> SecretStr:
    parts = _split_address(value.get_secret_value())
    if parts.scheme not in schemes or not (parts.hostname or parts.path.strip("/")):
        raise ValueError(f"must be an address that begins with {' or '.join(name + '://' for name in schemes)}")
    return value


def load_settings(**overrides: Any) -> Settings:
    """The reference service's settings from the environment and `.env`.

    Args:
        **overrides: Field values that win over both.

    Raises:
        SettingsError: At least one is refused; all faults are in it.
    """
    return Settings.load(**overrides)


def _fault(settings: type[Settings], error: Mapping[str, Any]) -> str:
    message = " ".join(str(error["msg"]).removeprefix("Value error, ").split()) or "is refused"
    message = f"{message[0].lower()}{message[1:]}"
    if error["type"] == "missing" and len(error["loc"]) > 1:
        # A field within a field; any other place within one may be a part of its value.
        message = f"{error['loc'][-1]}: {message}"
    return f"{_variable(settings, error['loc'])}: {message}"


def _variable(settings: type[Settings], loc: tuple[int | str, ...]) -> str:
    if not loc:
        return "settings"
    name = str(loc[0])
    # A field with an alias is told by that.
    return settings.variable(name) if name in settings.model_fields else name.upper()


def _unreadable(settings: type[Settings], message: str) -> str:
    field = _UNREADABLE.search(message)
    return f"settings: {message}" if field is None else f"{settings.variable(field[1])}: must be written as JSON"
