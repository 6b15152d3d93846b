"""One running service for all of these tests, and the people who use it."""

from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest

from support.service import (
    Account,
    Service,
    run_cli,  # new: postgresql
)

ORIGIN = "https://app.example.com"


@pytest.fixture(
    scope="session",
    params=[
        "sqlite",  # new: sqlite
        "postgresql",  # new: postgresql
    ],
)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp(f"service-{request.param}")
    settings = {
        "environment": "test",
        "cors_origins": ORIGIN,
        "rate_limit": "1000000/minute",
        "login_rate_limit": "1000000/minute",
    }
    # new: if postgresql
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        settings["database_url"] = server.create_database()
        settings["redis_url"] = request.getfixturevalue("valkey_of_the_run").url
        done = run_cli("db", "upgrade", cwd=folder, **settings)
        assert done.returncode == 0, done.stderr
    # new: end if
    with Service.started(folder, **settings) as running:
        yield running


@pytest.fixture(scope="session")
def admin(service: Service) -> Iterator[Account]:
    account = service.create("admin")
    with closing(account.client):
        yield account


@pytest.fixture(scope="session")
def editor(service: Service) -> Iterator[Account]:
    account = service.create("editor")
    with closing(account.client):
        yield account


@pytest.fixture
def user(service: Service) -> Iterator[Account]:
    account = service.sign_up()
    with closing(account.client):
        yield account


@pytest.fixture
def other(service: Service) -> Iterator[Account]:
    account = service.sign_up()
    with closing(account.client):
        yield account


@pytest.fixture
def anyone(service: Service) -> Iterator[httpx2.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="module")
def user_of_module(service: Service) -> Iterator[Account]:
    account = service.sign_up()
    with closing(account.client):
        yield account
