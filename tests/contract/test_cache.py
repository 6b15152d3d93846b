"""Who a token is of, as a second process of the same service sees it: at once, or five seconds later at the latest."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx2
import psycopg
import pytest

from support.service import Account, Service, check_envelope

# Without Valkey nothing is cached: `test_several_workers_share_accounts_and_sessions` has that.
pytestmark = pytest.mark.parametrize("service", ["postgresql"], indirect=True)
BOUND_SECONDS = 5.0


@pytest.fixture(scope="module")
def second(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Another process, on the same database, Valkey, secret and folder of mails."""
    settings = {**service.settings, "data_dir": str(service.folder / ".hardpoint"), "public_url": service.url}
    with Service.started(tmp_path_factory.mktemp("second"), **settings) as running:
        yield running


@pytest.fixture
def there(second: Service, user: Account) -> Iterator[httpx2.Client]:
    """The user at the second process, which has seen them."""
    with second.client(headers={"Authorization": f"Bearer {user.access_token}"}) as client:
        assert client.get("/users/me").json()["id"] == user.id
        yield client


def until_it_holds(ask: Callable[[], httpx2.Response], status: int) -> None:
    """Nothing that is asked later than the bound after now is answered as before."""
    changed = time.monotonic()
    while True:
        asked = time.monotonic()
        if ask().status_code == status:
            return
        assert asked - changed <= BOUND_SECONDS
        time.sleep(0.05)


def test_a_logout_holds_in_the_other_process(user: Account, there: httpx2.Client) -> None:
    assert user.client.post("/auth/logout").status_code == 204
    until_it_holds(lambda: there.get("/users/me"), 401)
    check_envelope(there.get("/users/me"), 401, "INVALID_TOKEN")


def test_a_role_holds_in_the_other_process(user: Account, admin: Account, there: httpx2.Client) -> None:
    assert there.get("/users").status_code == 403
    for role, status in [("admin", 200), ("user", 403)]:
        assert admin.client.patch(f"/users/{user.id}", json={"role": role}).status_code == 200
        until_it_holds(lambda: there.get("/users"), status)


def test_a_disabled_user_is_out_in_the_other_process(user: Account, admin: Account, there: httpx2.Client) -> None:
    assert admin.client.patch(f"/users/{user.id}", json={"is_active": False}).status_code == 200
    until_it_holds(lambda: there.get("/users/me"), 401)


def test_a_new_password_ends_the_other_sessions_in_the_other_process(
    service: Service, second: Service, user: Account
) -> None:
    other = service.log_in(user.email)
    with closing(other.client), second.client(headers={"Authorization": f"Bearer {other.access_token}"}) as there:
        assert there.get("/users/me").status_code == 200
        body = {"password": "a completely new password", "current_password": "correct horse battery staple"}
        assert user.client.patch("/users/me", json=body).status_code == 200
        until_it_holds(lambda: there.get("/users/me"), 401)


def test_what_nobody_tells_holds_after_five_seconds(service: Service, user: Account, there: httpx2.Client) -> None:
    """A message that is lost, or a row that is changed by hand: the bound that the documentation states."""
    url = service.settings["database_url"].replace("+asyncpg", "")
    with psycopg.connect(url) as database:
        database.execute("UPDATE users SET role = 'admin' WHERE id = %s", (user.id,))
    try:
        until_it_holds(lambda: there.get("/users"), 200)
    finally:
        # Other tests of this service rely on its having one admin.
        with psycopg.connect(url) as database:
            database.execute("UPDATE users SET role = 'user' WHERE id = %s", (user.id,))
    with psycopg.connect(url) as database:
        session_id = user.refresh_token.partition(".")[0]
        database.execute("UPDATE auth_sessions SET revoked_at = now() WHERE id = %s", (session_id,))
    until_it_holds(lambda: there.get("/users/me"), 401)
