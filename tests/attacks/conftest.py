"""A service for each module of attacks, and what an attacker needs: accounts, raw sockets, its rows.

It is on SQLite; a module with `DATABASES = BOTH` attacks one on PostgreSQL as well.
"""

import json
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import psycopg
import pytest

from support.service import PASSWORD, Account, Service, run_cli

ORIGIN = "https://app.example.com"
SECRET_KEY = "the-secret-of-the-attacked-service-0123456789"


BOTH = ("sqlite", "postgresql")


class Rows:
    """The service's own database, to see what became of an attack or to let time pass."""

    def __init__(self, connection: Any, *, mark: str) -> None:
        self._connection = connection
        self._mark = mark

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement with `?` for each value."""
        return self._connection.execute(statement.replace("?", self._mark), tuple(values))

    def one(self, statement: str, *values: Any) -> Any:
        """The first column of the one row that there is."""
        (value,) = self.execute(statement, values).fetchone()
        return value

    def moment(self, table: str, column: str, key: object) -> datetime:
        """A moment of a row."""
        value = self.one(f"SELECT {column} FROM {table} WHERE id = ?", key)  # noqa: S608
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        moment: datetime = value.astimezone(UTC)
        return moment

    def move(self, table: str, column: str, key: object, *, seconds: float) -> None:
        """Let a moment of a row be this much earlier."""
        moment = self.moment(table, column, key)
        earlier = (moment - timedelta(seconds=seconds)).replace(tzinfo=None)
        text = earlier.isoformat(sep=" ", timespec="microseconds")
        zone = "" if self._mark == "?" else "+00"
        self.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (text + zone, key))  # noqa: S608


@contextmanager
def rows(service: Service) -> Iterator[Rows]:
    """One transaction on the service's own database."""
    url = service.settings.get("database_url")
    if url is None:
        path = service.folder / ".hardpoint" / "hardpoint.db"
        with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
            yield Rows(connection, mark="?")
    else:
        with psycopg.connect(url.replace("+asyncpg", "")) as postgres:
            yield Rows(postgres, mark="%s")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    databases = getattr(metafunc.module, "DATABASES", ())
    if databases and "service" in metafunc.fixturenames:
        metafunc.parametrize("service", databases, indirect=True, scope="module")


@dataclass(frozen=True)
class Wire:
    """Bytes on a socket, for requests that no client library would send."""

    host: str
    port: int

    def send(self, *parts: bytes, timeout: float = 20) -> bytes:
        """Everything that the server answers until it closes the connection."""
        received = b""
        with socket.create_connection((self.host, self.port), timeout=timeout) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
            except OSError:
                # The server may refuse before it has read everything.
                pass
            try:
                while chunk := connection.recv(65_536):
                    received += chunk
            except ConnectionResetError:
                pass
        return received

    def answer(self, *parts: bytes) -> httpx2.Response:
        """The one answer to what is sent."""
        received = self.send(*parts)
        assert received.count(b"HTTP/1.1 ") == 1, received[:2000]
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        return httpx2.Response(int(status.split()[1]), headers=headers, content=body)


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service that a module attacks; the module's `SETTINGS` change how it is set."""
    settings = {
        "environment": "test",
        "cors_origins": ORIGIN,
        "secret_key": SECRET_KEY,
        "rate_limit": "1000000/minute",
        "login_rate_limit": "1000000/minute",
        "email_verification": "optional",
        **getattr(request.module, "SETTINGS", {}),
    }
    folder = tmp_path_factory.mktemp("attacked")
    if getattr(request, "param", "sqlite") == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgres_server").create_database()
        done = run_cli("db", "upgrade", cwd=folder, **settings)
        assert done.returncode == 0, done.stderr
    with Service.started(folder, **settings) as running:
        yield running


@pytest.fixture(autouse=True)
def still_alive(service: Service) -> Iterator[None]:
    """After every single attack the service answers as if nothing had happened."""
    yield
    assert service.process.poll() is None, service.log
    with service.client() as client:
        answer = client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.fixture(scope="module")
def wire(service: Service) -> Wire:
    host, _, port = service.url.removeprefix("http://").partition(":")
    return Wire(host, int(port))


@pytest.fixture(scope="module")
def anyone(service: Service) -> Iterator[httpx2.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="module")
def new_account(service: Service, anyone: httpx2.Client) -> Iterator[Callable[[], Account]]:
    """Registers and logs in somebody new, without waiting for a mail."""
    made: list[Account] = []

    def make() -> Account:
        address = service.new_address()
        answer = anyone.post("/auth/register", json={"email": address, "password": PASSWORD})
        assert answer.status_code == 202, answer.text
        made.append(service.log_in(address))
        return made[-1]

    yield make
    for account in made:
        account.client.close()


@pytest.fixture
def user(new_account: Callable[[], Account]) -> Account:
    return new_account()


@pytest.fixture
def other(new_account: Callable[[], Account]) -> Account:
    return new_account()


@pytest.fixture(scope="module")
def user_of_module(new_account: Callable[[], Account]) -> Account:
    return new_account()


@pytest.fixture(scope="module")
def admin(service: Service) -> Iterator[Account]:
    account = service.create("admin")
    with closing(account.client):
        yield account


@pytest.fixture(scope="module")
def editor(service: Service) -> Iterator[Account]:
    account = service.create("editor")
    with closing(account.client):
        yield account


@dataclass(frozen=True)
class Operation:
    """One route and method that takes a JSON body."""

    method: str
    path: str
    example: dict[str, Any]
    members: frozenset[str]


@pytest.fixture(scope="module")
def openapi(anyone: httpx2.Client) -> dict[str, Any]:
    document: dict[str, Any] = anyone.get("/openapi.json").json()
    return document


@pytest.fixture(scope="module")
def json_operations(openapi: dict[str, Any]) -> list[Operation]:
    """Every route and method with a JSON body, so that a new route is attacked the day it is made."""
    schemas = openapi["components"]["schemas"]
    found: list[Operation] = []
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            text = json.dumps(content["schema"])
            schema = schemas[text.partition("#/components/schemas/")[2].partition('"')[0]]
            example = dict((schema.get("examples") or [{}])[0])
            found.append(Operation(method.upper(), path, example, frozenset(schema["properties"])))
    assert len(found) >= 10
    return found


@pytest.fixture(scope="module")
def fill(admin: Account, user_of_module: Account) -> Callable[[str], str]:
    """A path with its parameters filled: things that exist and that the admin may touch."""
    post = admin.client.post("/posts", json={"title": "A target", "body": "Of many attacks."}).json()["id"]

    def filled(path: str) -> str:
        return path.format(post_id=post, user_id=user_of_module.id, key_id=1, session_id="x", job_id=1)

    return filled
