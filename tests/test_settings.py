import os
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, field_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy import make_url

from hardpoint.settings import Settings, SettingsError, check_secret, load_settings

SECRET = "a secret of thirty-two bytes or more"


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"HARDPOINT_{name}", value)
    return load_settings()


def faults(monkeypatch: pytest.MonkeyPatch, **variables: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, **variables)
    return refused.value.faults


def test_the_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load(monkeypatch)
    assert settings.environment == "development"
    assert settings.secret_key is None
    assert settings.is_embedded_database
    assert settings.resolved_database_url == f"sqlite+aiosqlite:///{tmp_path}/.hardpoint/hardpoint.db"
    assert settings.redis_url is None
    assert settings.data_dir == Path(".hardpoint")
    assert (settings.cors_origins, settings.trusted_proxies) == ((), ())
    assert (settings.rate_limit, settings.login_rate_limit) == ("600/minute", "10/minute")
    assert (settings.access_token_ttl, settings.refresh_token_ttl) == (900, 2_592_000)
    assert settings.email_verification == "required"
    assert settings.accepts_access_tokens_in_ws_query
    assert settings.shows_docs
    assert settings.max_body_bytes == 1_048_576
    assert settings.smtp_url is None
    assert settings.smtp_from == "hardpoint@localhost"
    assert settings.log_format is None


def test_production_is_stricter(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, ENVIRONMENT="production", SECRET_KEY=SECRET)
    assert not settings.accepts_access_tokens_in_ws_query
    assert not settings.shows_docs
    assert load(monkeypatch, DOCS="true").shows_docs


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ENVIRONMENT", "staging", "development"),
        ("SECRET_KEY", "short", "32 bytes"),
        ("SECRET_KEY", "ab" * 40, "distinct"),
        ("SECRET_KEY", "change-me-change-me-change-me-0123456789", "documentation"),
        ("SIGNING_KEY_FILES", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n", "is no path"),
        ("SIGNING_KEY_FILES", '["a.pem", "canary\\u001b.pem"]', "is no path"),
        ("DATABASE_URL", "postgres://u:canary@h/d", "postgresql+asyncpg"),
        ("DATABASE_URL", "mysql+aiomysql://h/d", "sqlite+aiosqlite"),
        ("REDIS_URL", "http://h", "redis://"),
        ("REDIS_URL", "valkey://:canary@h/0?ssl_ca_certs=x&socket_timeout=canary", "must not set socket_timeout"),
        ("REDIS_URL", "redis://:canary@h/0?foo=canary", "must not set 'foo'"),
        ("REDIS_URL", "redis://:canary@h/0?db=canary", "db"),
        ("REDIS_URL", "redis+cluster://u:canary@h/1", "database 0"),
        ("REDIS_URL", "valkey+sentinel://u:canary@h:26379", "/service"),
        ("DATABASE_POOL_SIZE", "0", "greater"),
        ("INSTANCE", "two words", "pattern"),
        ("CORS_ORIGINS", "*", "credentials"),
        ("CORS_ORIGINS", '["https://a.example", "*"]', "credentials"),
        ("CORS_ORIGINS", "https://a.example/path", "not an origin"),
        ("CORS_ORIGINS", "null", "not an origin"),
        ("CORS_ORIGINS", "https://a.example, https://canary.example/", "without a path"),
        ("CORS_ORIGINS", "https://*.canary.example", "not an origin"),
        ("CORS_ORIGINS", "ftp://canary.example", "not an origin"),
        ("CORS_ORIGINS", "[1", "JSON list"),
        ("CORS_ORIGINS", "[1]", "string"),
        ("TRUSTED_PROXIES", "nginx", "neither an address nor a network"),
        ("RATE_LIMIT", "fast", "N/second"),
        ("RATE_LIMIT", "0/second", "N/second"),
        ("RATE_LIMIT", "10/day", "N/second"),
        ("LOGIN_RATE_LIMIT", "-1/minute", "N/second"),
        ("ACCESS_TOKEN_TTL", "0", "greater than or equal to 1"),
        ("ACCESS_TOKEN_TTL", "soon", "integer"),
        ("REFRESH_TOKEN_TTL", "-5", "greater than or equal to 1"),
        ("EMAIL_VERIFICATION", "maybe", "required"),
        ("WS_QUERY_ACCESS_TOKENS", "perhaps", "boolean"),
        ("MAX_BODY_BYTES", "0", "greater than or equal to 1"),
        ("SMTP_URL", "mail.example.com", "smtp://"),
        ("PUBLIC_URL", "ftp://h", "http"),
        ("PUBLIC_URL", "https://h/?x=1", "without query"),
        ("PUBLIC_URL", "https://h/?", "without query"),
        ("PUBLIC_URL", "https://ann:canary@h", "password"),
        ("PUBLIC_URL", "https://canary.example\n", "control characters"),
        ("PUBLIC_URL", "https://b\u00fccher.example", "xn--"),
        ("SMTP_FROM", "nobody", "e-mail address"),
        ("SMTP_FROM", "a@b\nBcc: c@d", "e-mail address"),
        *(
            ("SMTP_FROM", text, "e-mail address")
            for text in [
                " ",
                "@",
                "a@",
                "@b",
                "a@b, c@d",
                "a@b c",
                "Shop, Inc. <a@b>",
                "Shop <a@b",
                "a@b\u00e4r.de",
                "a@b;",
            ]
        ),
        ("LOG_FORMAT", "xml", "json"),
    ],
)
def test_a_setting_that_does_not_hold_is_one_line_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    found = faults(monkeypatch, **{name: value})
    assert len(found) == 1
    assert found[0].startswith(f"HARDPOINT_{name}: ")
    assert says in found[0]
    assert "\n" not in found[0]
    assert "canary" not in found[0]


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = faults(monkeypatch, ENVIRONMENT="production", TRUSTED_PROXIES="0.0.0.0/0", RATE_LIMIT="x", SMTP_URL="x")
    assert [fault.partition(":")[0] for fault in found] == [
        "HARDPOINT_SECRET_KEY",
        "HARDPOINT_TRUSTED_PROXIES",
        "HARDPOINT_RATE_LIMIT",
        "HARDPOINT_SMTP_URL",
    ]


@pytest.mark.parametrize(
    "text", ["https://a.example,http://b.example:8080", '["https://a.example", "http://b.example:8080"]']
)
def test_lists_are_json_or_separated_by_commas(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert load(monkeypatch, CORS_ORIGINS=text).cors_origins == ("https://a.example", "http://b.example:8080")


@pytest.mark.parametrize(
    "sender", ["a@b", "hardpoint@localhost", "Shop \u00dc <a@b.example>", '"Shop, Inc." <a@b>', "Shop (beta) <a+b@c.d>"]
)
def test_a_sender_may_have_a_name(monkeypatch: pytest.MonkeyPatch, sender: str) -> None:
    assert load(monkeypatch, SMTP_FROM=f" {sender} ").smtp_from == sender


@pytest.mark.parametrize("folder", ["data", "what?", "100%25", "a b#c@d"])
def test_the_database_is_in_the_data_folder_whatever_that_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    settings = load(monkeypatch, DATA_DIR=folder)
    assert make_url(settings.resolved_database_url).database == f"{tmp_path / folder}/hardpoint.db"


def test_origins_are_what_browsers_send(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, CORS_ORIGINS="https://App.example:443", PUBLIC_URL="https://Example.com:443/app/")
    assert settings.cors_origins == ("https://app.example",)
    assert settings.public_origin == "https://example.com"
    assert settings.resolved_public_url == "https://Example.com:443/app"


@pytest.mark.parametrize(
    "url", ["valkey+sentinel://u:p@a:26379,[::1]:26379/main/0", "rediss://h/0?ssl_cert_reqs=none&client_name=shop"]
)
def test_an_address_of_valkey_is_kept_whole(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    redis_url = load(monkeypatch, REDIS_URL=url).redis_url
    assert redis_url is not None
    assert redis_url.get_secret_value() == url


def test_an_instance_is_called_as_it_was_told_or_by_its_host_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch).resolved_instance.endswith(f":{os.getpid()}")
    assert load(monkeypatch, INSTANCE="web-1").resolved_instance == "web-1"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, REDIS_URL="", RATE_LIMIT="").rate_limit == "600/minute"


def test_the_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HARDPOINT_RATE_LIMIT=5/second\nHARDPOINT_SMTP_FROM=a@b\nOTHER=1\n")
    settings = load(monkeypatch, SMTP_FROM="c@d")
    assert (settings.rate_limit, settings.smtp_from) == ("5/second", "c@d")
    (tmp_path / ".env").write_bytes(b"HARDPOINT_SMTP_FROM=\xff@b")
    assert faults(monkeypatch) == (".env: is not UTF-8 text",)


class Mail(BaseModel):
    host: str
    port: int


class ShopSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")

    tags: list[str] = Field(default_factory=list)
    prices: dict[str, int] = Field(default_factory=dict)
    mail: Mail | None = None
    number: int = Field(default=1, validation_alias="ORDER_NUMBER")
    colours: list[str] = Field(default_factory=list, validation_alias="COLOURS")
    name: str = "shop"

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        assert value != "asserted"
        if value == "raised":
            raise ValueError("two\nlines")
        if value == "silent":
            raise ValueError
        return value


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("SHOP_TAGS", "canary, other", "SHOP_TAGS: must be written as JSON"),
        ("SHOP_PRICES", "{canary", "SHOP_PRICES: must be written as JSON"),
        ("SHOP_PRICES", '{"canary": "x"}', "SHOP_PRICES: input should be a valid integer"),
        ("SHOP_MAIL", '{"host": "canary"}', "SHOP_MAIL: port: field required"),
        ("ORDER_NUMBER", "canary", "ORDER_NUMBER: input should be a valid integer"),
        ("COLOURS", "canary", "COLOURS: must be written as JSON"),
        ("SHOP_NAME", "asserted", "SHOP_NAME: assertion failed"),
        ("SHOP_NAME", "raised", "SHOP_NAME: two lines"),
        ("SHOP_NAME", "silent", "SHOP_NAME: is refused"),
    ],
)
def test_a_setting_of_an_applications_own_is_one_line_as_well(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, fault: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        ShopSettings.load()
    (told,) = refused.value.faults
    assert told.startswith(fault)
    assert "canary" not in told
    assert "\n" not in told


def test_settings_are_frozen_and_keep_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, SECRET_KEY=SECRET, DATABASE_URL="postgresql+asyncpg://u:canary@h/d")
    with pytest.raises(ValueError, match="frozen"):
        settings.environment = "production"
    assert SECRET not in repr(settings)
    assert "canary" not in repr(settings)


def test_a_secret_is_counted_in_bytes() -> None:
    assert check_secret("äöüßéèêëàâîïôûùç") is None
    assert check_secret("äöüßéèêëàâîïôûù") is not None
