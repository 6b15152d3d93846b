"""Secrets of every kind, looked for wherever something leaves the service (section 3.11).

One run does with each of them what it is for, what it is not for, and what breaks; then every answer, message, log
line, metric, trace, mail and table is searched for every one of them.
"""

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from websockets import ConnectionClosed, InvalidHandshake

from attacks.conftest import BOTH, Rows, rows
from support.collector import Collector
from support.databases import ValkeyServer
from support.live import live
from support.service import Service, run_cli

DATABASES = BOTH
# With a capital, a digit and a sign each, so that whatever quotes or folds them is looked for too.
PASSWORDS = {
    name: f"Canary-{name} pass phrase 4711+"
    for name in ("first", "second", "reset", "wrong", "misplaced", "admin", "crash", "unreadable")
}
SHORT = "Canary-4711"
SIGNING = "canary-signing-secret-0123456789-abcdefghij"
STORES = {"database": "canary-database-password", "valkey": "canary-valkey-password", "smtp": "canary-smtp-password"}
TABLES = ["users", "auth_sessions", "one_time_tokens", "api_keys", "queued_mails", "posts", "comments"]


@dataclass
class Watch:
    """All that left the service, and all that should not have."""

    service: Service
    client: httpx2.Client
    secrets: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    allowed: set[tuple[str, str]] = field(default_factory=set)

    def secret(self, name: str, value: str, *places: str) -> str:
        """A secret, which may be in these places alone."""
        assert self.secrets.setdefault(name, value) == value
        self.allowed.update((name, place) for place in places)
        return value

    def see(self, place: str, text: str | bytes) -> None:
        self.seen.append((place, text if isinstance(text, str) else text.decode("latin-1")))

    def ask(self, method: str, path: str, place: str | None = None, **options: Any) -> httpx2.Response:
        """A request, whose whole answer is looked at."""
        answer = self.client.request(method, path, **options)
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.multi_items())
        self.see(place or f"{method} {path.partition('?')[0]}", f"{answer.status_code}\n{head}\n\n{answer.text}")
        self.client.cookies.clear()
        return answer

    def log_in(self, address: str, password: str, name: str) -> dict[str, str]:
        """The headers of a new session, whose tokens are secrets of this name."""
        answer = self.ask("POST", "/auth/login", f"login {name}", data={"username": address, "password": password})
        assert answer.status_code == 200, answer.text
        return self.pair(answer, name)

    def pair(self, answer: httpx2.Response, name: str) -> dict[str, str]:
        body = answer.json()
        self.secret(f"access token {name}", body["access_token"], f"login {name}")
        self.secret(f"refresh token {name}", body["refresh_token"], f"login {name}")
        return {"Authorization": f"Bearer {body['access_token']}", "refresh": body["refresh_token"]}

    def mailed(self, address: str, number: int, name: str) -> str:
        """The token of a mail, which its recipient alone may see."""
        token = self.service.token_in_mail(address, number)
        return self.secret(name, token, f"mail {number} to {address}")

    def leaks(self) -> list[str]:
        found = []
        for place, text in self.seen:
            for name, value in self.secrets.items():
                spellings = {value, quote(value), quote(value, safe=""), json.dumps(value)[1:-1], value.lower()}
                spellings.add(base64.b64encode(value.encode()).decode().rstrip("="))
                if (name, place) not in self.allowed and any(spelling in text for spelling in spellings):
                    found.append(f"{name} in {place}: {_around(text, value)}")
        return found


def _around(text: str, value: str) -> str:
    at = max(text.find(value), 0)
    return text[max(at - 80, 0) : at + len(value) + 20]


def headers_of(session: dict[str, str]) -> dict[str, str]:
    return {"Authorization": session["Authorization"]}


@pytest.fixture(autouse=True)
def still_alive() -> None:
    """The service is stopped here, for the last of what it writes."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector.started() as running:
        yield running


@pytest.fixture(scope="module")
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[Service]:
    """A service with a secret in every setting that may have one."""
    valkey: ValkeyServer = request.getfixturevalue("valkey_of_the_run")
    valkey.command("ACL", "SETUSER", "canary", "on", f">{STORES['valkey']}", "~*", "&*", "+@all")
    settings = {
        "environment": "test",
        "secret_key": SIGNING,
        "rate_limit": "1000000/minute",
        "login_rate_limit": "1000000/minute",
        "redis_url": valkey.url.replace("://", f"://canary:{STORES['valkey']}@"),
        "log_format": "json",
    }
    folder = tmp_path_factory.mktemp("watched")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create_database()
        settings["database_url"] = url.replace("postgres@", f"postgres:{STORES['database']}@")
        done = run_cli("db", "upgrade", cwd=folder, **settings)
        assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with Service.started(folder, **settings) as running:
            yield running


def test_no_secret_is_where_it_should_not_be(service: Service, collector: Collector) -> None:
    with service.client() as client:
        watch = Watch(service, client)
        for name, value in [*PASSWORDS.items(), ("too short", SHORT), ("signing", SIGNING), *STORES.items()]:
            watch.secret(f"password {name}", value)
        address = "canary.reader@example.com"
        live_through_an_account(watch, address)
        misplace_everything(watch, address)
        use_keys(watch)
        asyncio.run(talk_on_sockets(watch, address))
        break_everything(watch, address)
        for path in ("/health/live", "/health/ready", "/openapi.json", "/asyncapi.json", "/docs", "/live"):
            watch.ask("GET", path)
        watch.ask("GET", "/.well-known/jwks.json")
        for number, mail in enumerate(service.mails(address), 1):
            watch.see(f"mail {number} to {address}", mail.as_string())
        with rows(service) as database:
            look_at_tables(watch, database)
    service.stop()
    watch.see("the log", service.log)
    watch.see("standard output", (service.folder / "stdout").read_text())
    for body in collector.received:
        watch.see("a trace", body)
    assert len(watch.secrets) >= 30
    # What was looked at is really there.
    assert '"event":"login_succeeded"' in service.log.replace('": ', '":')
    assert any("hardpoint_http_requests_total" in text for _, text in watch.seen)
    assert any(b"/auth/login" in body for body in collector.received)
    assert watch.leaks() == [], "\n".join(watch.leaks())
    hashes = re.compile(r"\$argon2|Traceback \(most recent call last\)")
    assert [
        place for place, text in watch.seen if hashes.search(text) and place not in {"the log", "table users"}
    ] == []
    assert "$argon2" not in service.log


def live_through_an_account(watch: Watch, address: str) -> None:
    """What each secret is for, and what is nearly that."""
    ask, first, second = watch.ask, PASSWORDS["first"], PASSWORDS["second"]
    account = {"email": address, "password": first, "name": "Reader"}
    assert ask("POST", "/auth/register", json=account).status_code == 202
    token = watch.mailed(address, 1, "verification token")
    ask("POST", "/auth/register", json={**account, "password": PASSWORDS["wrong"]})
    for _ in range(2):
        ask("POST", "/auth/verify-email", json={"token": token})
    for username, password in [(address, PASSWORDS["wrong"]), (PASSWORDS["misplaced"], PASSWORDS["misplaced"])]:
        ask("POST", "/auth/login", data={"username": username, "password": password})
    one = watch.log_in(address, first, "one")
    me = headers_of(one)
    assert ask("GET", "/users/me", headers=me).status_code == 200
    # Refreshed, again within the grace, and then reused.
    two = watch.pair(ask("POST", "/auth/refresh", "login two", json={"refresh_token": one["refresh"]}), "two")
    again = ask("POST", "/auth/refresh", "login again", json={"refresh_token": one["refresh"]}).json()
    watch.allowed.add(("refresh token two", "login again"))
    watch.secret("access token again", again["access_token"], "login again")
    three = watch.pair(ask("POST", "/auth/refresh", "login three", json={"refresh_token": two["refresh"]}), "three")
    assert ask("POST", "/auth/refresh", json={"refresh_token": one["refresh"]}).json()["code"] == "TOKEN_REUSED"
    ask("POST", "/auth/refresh", json={"refresh_token": three["refresh"]})
    # A cookie.
    form = {"username": address, "password": first}
    cookie = ask("POST", "/auth/login?session=cookie", "login by cookie", data=form).headers["set-cookie"]
    value = watch.secret("cookie", cookie.partition("=")[2].partition(";")[0], "login by cookie")
    origin = {"Origin": watch.service.settings.get("public_url", watch.service.url)}
    for path in ("/users/me", "/auth/sessions", "/posts", "/nothing"):
        ask("GET", path, headers={"Cookie": f"session={value}"})
    ask("POST", "/auth/ws-ticket", headers={"Cookie": f"session={value}", "Origin": "https://evil.example.com"})
    ask("POST", "/auth/logout", headers={"Cookie": f"session={value}", **origin})
    # Another password.
    four = watch.log_in(address, first, "four")
    me = headers_of(four)
    for current, new in [
        (PASSWORDS["wrong"], second),
        (first, SHORT),
        (first, "passwordpassword"),
        (first, f"{first}\ud800"),
        (first, second),
    ]:
        body = json.dumps({"password": new, "current_password": current}).encode()
        ask("PATCH", "/users/me", content=body, headers={**me, "Content-Type": "application/json"})
    assert ask("POST", "/auth/login", "login five", data={"username": address, "password": second}).status_code == 200
    watch.pair(ask("POST", "/auth/login", "login six", data={"username": address, "password": second}), "six")
    # A forgotten one.
    for _ in range(2):
        assert ask("POST", "/auth/forgot-password", json={"email": address}).status_code == 202
    token = watch.mailed(address, 3, "first reset token")
    watch.mailed(address, 4, "second reset token")
    ask("POST", "/auth/reset-password", json={"token": token, "password": SHORT})
    for _ in range(2):
        ask("POST", "/auth/reset-password", json={"token": token, "password": PASSWORDS["reset"]})
    ask("POST", "/auth/reset-password", json={"token": PASSWORDS["misplaced"], "password": PASSWORDS["reset"]})
    watch.log_in(address, PASSWORDS["reset"], "seven")


def misplace_everything(watch: Watch, address: str) -> None:
    """Each secret where it does not belong, in every form that a client might get wrong."""
    session = watch.log_in(address, PASSWORDS["reset"], "misplaced")
    bearer = headers_of(session)
    # One of each kind.
    names = ["password misplaced", "access token seven", "refresh token seven", "cookie", "second reset token"]
    for value in [watch.secrets[name] for name in names]:
        for path in ("/users/me", "/posts", "/auth/verify-email", "/auth/reset-password", "/nothing"):
            query = {"token": value, "access_token": value, "password": value, "cursor": value, "limit": value}
            watch.ask("GET", path, params=query)
        watch.ask("POST", "/auth/login", params={"session": value}, data={"username": value, "password": value})
        # Not the request's id and the user agent, which are names that the client gives to be told again.
        for header in ("Authorization", "X-API-Key", "Cookie", "Origin", "Accept", "Referer", "If-None-Match"):
            for text in (
                value,
                f"Bearer {value}",
                f"session={value}",
                f"Basic {base64.b64encode(value.encode()).decode()}",
            ):
                watch.ask("GET", "/users/me", headers=[(header.encode(), text.encode())])
        bodies: list[tuple[str, bytes]] = [
            ("application/json", json.dumps({"refresh_token": value, "token": value}).encode()),
            ("application/json", json.dumps({"email": value, "password": [value], "name": {"x": value}}).encode()),
            ("application/json", json.dumps([value]).encode()),
            ("application/json", f'{{"password": "{value}"'.encode()),
            ("application/json", b'{"password": NaN, "x": "' + value.encode() + b'"}'),
            ("text/plain", value.encode()),
            ("application/x-www-form-urlencoded", f"password={quote(value)}&x={quote(value)}".encode()),
            ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="' + value.encode()),
        ]
        for path in (
            "/auth/register",
            "/auth/login",
            "/auth/refresh",
            "/auth/logout",
            "/auth/reset-password",
            "/posts",
        ):
            content_type, content = bodies[(len(path) + len(value)) % len(bodies)]
            for accept in ("application/json", "application/problem+json"):
                headers = {"Content-Type": content_type, "Accept": accept, **(bearer if path == "/posts" else {})}
                watch.ask("POST", path, content=content, headers=headers)


def use_keys(watch: Watch) -> None:
    """An admin's account from the command line, and keys."""
    made = run_cli(
        "users", "create", "--email", "canary.admin@example.com", "--role", "admin",
        cwd=watch.service.folder, stdin=PASSWORDS["admin"], **watch.service.settings,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    watch.see("users create", made.stdout + made.stderr)
    again = run_cli(
        "users", "create", "--email", "canary.admin@example.com", "--role", "admin",
        cwd=watch.service.folder, stdin=PASSWORDS["admin"], **watch.service.settings,
    )  # fmt: skip
    watch.see("users create again", again.stdout + again.stderr)
    made = run_cli(
        "keys", "create", "--name", "k", "--scope", "metrics", cwd=watch.service.folder, **watch.service.settings
    )
    watch.secret("key of the command", made.stdout.strip(), "keys create")
    watch.see("keys create", made.stdout + made.stderr)
    admin = headers_of(watch.log_in("canary.admin@example.com", PASSWORDS["admin"], "admin"))
    keys = {}
    for scope in ("metrics", "other"):
        place = f"a new key for {scope}"
        answer = watch.ask("POST", "/api-keys", place, json={"name": scope, "scopes": [scope]}, headers=admin)
        keys[scope] = answer.json()
        watch.secret(f"key for {scope}", answer.json()["key"], place)
        watch.secret(f"the secret in the key for {scope}", answer.json()["key"].partition("_")[2], place)
    for key in keys.values():
        watch.ask("GET", "/internal/metrics", headers={"X-API-Key": key["key"]})
        watch.ask("GET", "/users/me", headers={"X-API-Key": key["key"]})
        watch.ask("GET", "/users/me", headers={"Authorization": f"ApiKey {key['key']}"})
        watch.ask("GET", "/users/me", headers={"X-API-Key": key["key"], **admin})
    watch.ask("DELETE", f"/api-keys/{keys['other']['id']}", headers=admin)
    watch.ask("GET", "/internal/metrics", headers={"X-API-Key": keys["other"]["key"]})
    for path in ("/api-keys", "/users", "/users/1", "/auth/sessions"):
        watch.ask("GET", path, headers=admin)


async def talk_on_sockets(watch: Watch, address: str) -> None:
    """Tickets and tokens, in the address and in messages, good and bad."""
    session = headers_of(watch.log_in(address, PASSWORDS["reset"], "sockets"))
    tickets = []
    for number in range(2):
        place = f"a ticket, number {number}"
        ticket = watch.ask("POST", "/auth/ws-ticket", place, headers=session).json()["ticket"]
        tickets.append(watch.secret(place, ticket, place))
    token = session["Authorization"].removeprefix("Bearer ")
    for text in [tickets[0], tickets[0], token, PASSWORDS["misplaced"], f"{token}x"]:
        with suppress(InvalidHandshake, ConnectionClosed):
            async with live(watch.service.url, f"/ws?token={quote(text)}&password={quote(text)}") as socket:
                await socket.connection.send(f'{{"type": "auth", "token": "{text}')
                for message in [
                    {"type": text, "password": text},
                    {"type": "subscribe", "channel": text},
                    {"type": "subscribe", "channel": f"post:{text}"},
                    {"type": "ping"},
                ]:
                    await socket.send(**message)
                while (answer := await socket.receive())["type"] != "pong":
                    watch.see("a message", json.dumps(answer))
                await socket.send(type="auth", token=f"{text}x")
                watch.see("a message", json.dumps(await socket.receive()))
    async with live(watch.service.url) as socket:
        await socket.send(type="auth", token=tickets[1])
        with suppress(ConnectionClosed):
            watch.see("a message", json.dumps(await socket.receive()))
    watch.ask("GET", "/events", params={"channel": "posts", "token": f"{token}x"})
    with watch.client.stream("GET", "/events", params={"channel": "posts", "token": token}) as stream:
        watch.see("an event", next(stream.iter_lines()))


def break_everything(watch: Watch, address: str) -> None:
    """The table of users is away while everybody brings their secrets: each of these is a line in the log."""
    session = watch.log_in(address, PASSWORDS["reset"], "crash")
    crash = PASSWORDS["crash"]
    with rows(watch.service) as database:
        database.execute("ALTER TABLE users RENAME TO users_away")
    try:
        statuses = [
            watch.ask("POST", "/auth/register", json={"email": "x@example.com", "password": crash}).status_code,
            watch.ask("POST", "/auth/login", data={"username": address, "password": crash}).status_code,
            watch.ask("POST", "/auth/refresh", json={"refresh_token": session["refresh"]}).status_code,
            watch.ask("POST", "/auth/forgot-password", json={"email": address}).status_code,
            watch.ask("GET", "/users/me?token=x", headers={"Cookie": f"session={watch.secrets['cookie']}"}).status_code,
        ]
    finally:
        with rows(watch.service) as database:
            database.execute("ALTER TABLE users_away RENAME TO users")
    if "database_url" in watch.service.settings:
        refuse_to_write(watch, crash)
    assert set(statuses) == {500}


REFUSING = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'",
    "CREATE TRIGGER refusing BEFORE INSERT ON users EXECUTE FUNCTION refuse()",
)


def refuse_to_write(watch: Watch, password: str) -> None:
    """A statement fails whose parameters have a password's hash."""
    with rows(watch.service) as database:
        for statement in REFUSING:
            database.execute(statement)
    try:
        answer = watch.ask("POST", "/auth/register", json={"email": "y@example.com", "password": password})
    finally:
        with rows(watch.service) as database:
            database.execute("DROP TRIGGER refusing ON users")
            database.execute("DROP FUNCTION refuse")
    assert answer.status_code == 500


def look_at_tables(watch: Watch, database: Rows) -> None:
    """What is kept is a digest or a hash, never what a client has to bring."""
    for table in TABLES:
        found = database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
        plain = [[bytes(cell) if isinstance(cell, memoryview) else cell for cell in row] for row in found]
        text = "\n".join(str(row) for row in plain)
        assert table in {"queued_mails", "comments", "posts"} or text
        watch.see(f"table {table}", text)


def test_a_password_of_a_store_that_is_away_is_told_nobody(tmp_path: Path) -> None:
    """Not by what refuses to start, nor by what starts without it."""
    away = {
        "database_url": f"postgresql+asyncpg://canary:{STORES['database']}@127.0.0.1:1/canary",
        "redis_url": f"valkey://canary:{STORES['valkey']}@127.0.0.1:1/0",
        "smtp_url": f"smtp://canary:{STORES['smtp']}@127.0.0.1:1",
        "secret_key": SIGNING,
        "email_verification": "optional",
    }
    texts = []
    for command in (["serve", "--port", "1"], ["db", "upgrade"], ["db", "current"], ["jobs", "list"]):
        done = run_cli(*command, cwd=tmp_path, **away)
        assert done.returncode not in {0, -9}
        texts.append(done.stdout + done.stderr)
    del away["database_url"]
    with Service.started(tmp_path, **away) as alone, alone.client() as client:
        body = {"email": "ann@example.com", "password": PASSWORDS["first"]}
        assert client.post("/auth/register", json=body).status_code == 202
        with closing(alone.log_in("ann@example.com", PASSWORDS["first"]).client):
            pass
        texts.append(client.get("/health/ready").text)
        while "mail_postponed" not in alone.log:
            pass
        alone.stop()
        texts += [alone.log, (alone.folder / "stdout").read_text()]
    for text in texts:
        for value in [*STORES.values(), SIGNING, PASSWORDS["first"]]:
            assert value not in text
