"""Keys for programs: wrong, twisted, expired, revoked, for something else; and what they never are."""

from typing import Any

import httpx2
import pytest

from attacks.conftest import BOTH, rows
from support.service import Account, Service, check_envelope

DATABASES = BOTH


def ask(client: httpx2.Client, key: str | bytes, path: str = "/internal/metrics") -> httpx2.Response:
    raw = key if isinstance(key, bytes) else key.encode()
    return client.get(path, headers=[(b"X-API-Key", raw)])


def made(admin: Account, **more: Any) -> dict[str, Any]:
    answer = admin.client.post("/api-keys", json={"name": "a program", "scopes": ["metrics"], **more})
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


@pytest.fixture(scope="module")
def key(admin: Account) -> dict[str, Any]:
    return made(admin)


def test_a_key_is_shown_once_and_only_its_digest_is_kept(
    service: Service, admin: Account, anyone: httpx2.Client
) -> None:
    new = made(admin)
    prefix, number, secret = new["key"].split("_", 2)
    assert (prefix, number) == ("hp", str(new["id"]))
    assert len(secret) == 43
    listed = next(item for item in admin.client.get("/api-keys").json()["items"] if item["id"] == new["id"])
    assert set(listed) == {"id", "name", "scopes", "created_at", "expires_at", "last_used_at"}
    assert listed["last_used_at"] is None
    assert ask(anyone, new["key"]).status_code == 200
    listed = next(item for item in admin.client.get("/api-keys").json()["items"] if item["id"] == new["id"])
    assert listed["last_used_at"] is not None
    with rows(service) as database:
        row = database.execute("SELECT * FROM api_keys WHERE id = ?", (new["id"],)).fetchone()
    assert secret not in str([bytes(cell) if isinstance(cell, memoryview) else cell for cell in row])


@pytest.mark.parametrize(
    "change",
    [
        lambda prefix, number, secret: f"{prefix}_{number}_{secret[:-1]}",
        lambda prefix, number, secret: f"{prefix}_{number}_{secret}A",
        lambda prefix, number, secret: f"{prefix}_{number}_{secret}=",
        lambda prefix, number, secret: f"{prefix}_{number}_{secret.swapcase()}",
        lambda prefix, number, _: f"{prefix}_{number}_",
        lambda prefix, number, _: f"{prefix}_{number}",
        lambda prefix, _, secret: f"{prefix}_999999_{secret}",
        lambda prefix, number, secret: f"{prefix}_0{number}_{secret}x",
        lambda prefix, number, secret: f"{prefix.upper()}_{number}_{secret}",
        lambda _, number, secret: f"{number}_{secret}",
        lambda prefix, number, secret: f"{prefix}-{number}-{secret}",
        lambda prefix, number, secret: f"{prefix}_{number}_\u00e9{secret}",
        lambda prefix, number, secret: f"{prefix}_{number}_{secret}\u0000".replace("\u0000", "%00"),
        lambda prefix, number, secret: f"Bearer {prefix}_{number}_{secret}",
        lambda prefix, number, secret: f"{prefix}_{number}_{secret},{prefix}_{number}_{secret}",
        lambda prefix, number, _: f"{prefix}_{number}_' OR 1=1 --",
        lambda prefix, number, _: f"{prefix}_{number}_" + "A" * 8_000,
        lambda prefix, number, _: f"{prefix}_{number}_" + "\ud7ff" * 43,
    ],
)
def test_a_key_may_not_be_changed(anyone: httpx2.Client, key: dict[str, Any], change: Any) -> None:
    answer = ask(anyone, change(*key["key"].split("_", 2)))
    check_envelope(answer, 401, "INVALID_API_KEY")
    assert answer.headers["www-authenticate"] == 'ApiKey realm="api"'
    # It is good all the time.
    assert ask(anyone, key["key"]).status_code == 200


def test_bytes_that_are_no_text_are_no_key(anyone: httpx2.Client, key: dict[str, Any]) -> None:
    """Comparing text in constant time breaks on what is not ASCII."""
    head = key["key"].rpartition("_")[0].encode()
    for raw in (b"\xff" * 43, b"\xc3\x28" * 20, b"\x80", "\u00e9".encode("latin-1")):
        check_envelope(ask(anyone, head + b"_" + raw), 401, "INVALID_API_KEY")


def test_anothers_secret_does_not_fit(admin: Account, anyone: httpx2.Client, key: dict[str, Any]) -> None:
    other = made(admin)
    mixed = f"hp_{key['id']}_{other['key'].split('_', 2)[2]}"
    check_envelope(ask(anyone, mixed), 401, "INVALID_API_KEY")


def test_a_key_is_limited_to_its_scopes(admin: Account, anyone: httpx2.Client) -> None:
    for scopes in (["metric"], ["metrics.read"], ["metrics:all"], ["other", "metricsx"]):
        answer = ask(anyone, made(admin, scopes=scopes)["key"])
        check_envelope(answer, 403, "FORBIDDEN")
        challenge = answer.headers["www-authenticate"]
        assert challenge == 'ApiKey realm="api", error="insufficient_scope", scope="metrics"'
    assert ask(anyone, made(admin, scopes=["other", "metrics"])["key"]).status_code == 200


def test_a_key_ends_at_its_time_and_with_its_revocation(
    service: Service, admin: Account, anyone: httpx2.Client
) -> None:
    old, new = made(admin, expires_at="2999-01-01T00:00:00Z"), made(admin)
    # Two live at the same time, so that a program can change from one to the other.
    assert [ask(anyone, each["key"]).status_code for each in (old, new)] == [200, 200]
    with rows(service) as database:
        database.move("api_keys", "expires_at", old["id"], seconds=40_000_000_000)
    check_envelope(ask(anyone, old["key"]), 401, "INVALID_API_KEY")
    assert admin.client.delete(f"/api-keys/{new['id']}").status_code == 204
    check_envelope(ask(anyone, new["key"]), 401, "INVALID_API_KEY")


def test_a_key_is_nobody(anyone: httpx2.Client, admin: Account, key: dict[str, Any], openapi: dict[str, Any]) -> None:
    """On no route of users, whatever its scopes are called."""
    mighty = made(admin, scopes=["admin", "users", "user", "metrics"])
    asked = 0
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            schemes = {name for choice in operation.get("security", []) for name in choice}
            if "AccessToken" not in schemes or {} in operation["security"]:
                continue
            url = path.replace("{session_id}", "x").replace("{", "").replace("}", "")
            url = "/".join("1" if part.endswith("_id") else part for part in url.split("/"))
            answer = anyone.request(method.upper(), url, headers={"X-API-Key": mighty["key"]})
            check_envelope(answer, 401, "INVALID_TOKEN")
            asked += 1
    assert asked >= 15
    # Nor is it a token, or a cookie, or a part of the address.
    for options in (
        {"headers": {"Authorization": f"Bearer {key['key']}"}},
        {"headers": {"Authorization": f"ApiKey {key['key']}"}},
        {"headers": {"Cookie": f"session={key['key']}; X-API-Key={key['key']}"}},
        {"params": {"api_key": key["key"], "X-API-Key": key["key"], "token": key["key"]}},
    ):
        assert anyone.request("GET", "/internal/metrics", **options).status_code == 401


def test_a_user_has_no_key_and_makes_none(user: Account, admin: Account, anyone: httpx2.Client) -> None:
    answer = user.client.get("/internal/metrics")
    check_envelope(answer, 401, "INVALID_API_KEY")
    check_envelope(admin.client.get("/internal/metrics"), 401, "INVALID_API_KEY")
    new = {"name": "mine", "scopes": ["metrics"]}
    check_envelope(user.client.post("/api-keys", json=new), 403, "FORBIDDEN")
    check_envelope(user.client.get("/api-keys"), 403, "FORBIDDEN")
    check_envelope(user.client.delete("/api-keys/1"), 403, "FORBIDDEN")


def test_the_end_of_a_key_is_told_in_utc_whatever_the_clients_zone(admin: Account) -> None:
    new = made(admin, expires_at="2999-01-01T01:30:00+02:00")
    assert new["expires_at"] == "2998-12-31T23:30:00.000000Z"
    listed = next(item for item in admin.client.get("/api-keys").json()["items"] if item["id"] == new["id"])
    assert listed["expires_at"] == new["expires_at"]


@pytest.mark.parametrize(
    "change",
    [
        {"scopes": []},
        {"scopes": ["Metrics"]},
        {"scopes": ["a b"]},
        {"scopes": ["x"] * 21},
        {"scopes": [""]},
        {"scopes": "metrics"},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * 201},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2999-01-01T00:00:00"},
        {"expires_at": 4_000_000_000},
        {"expires_at": "4000000000"},
        {"expires_at": "never"},
        # No date in UTC, and none in a database's own zone.
        {"expires_at": "9999-12-31T23:59:59-12:00"},
        {"expires_at": "9999-12-31T23:59:59Z"},
        {"expires_at": "0001-01-01T00:00:00+12:00"},
    ],
)
def test_a_key_that_does_not_hold_is_not_made(admin: Account, change: dict[str, Any]) -> None:
    answer = admin.client.post("/api-keys", json={"name": "k", "scopes": ["metrics"], **change})
    check_envelope(answer, 422, "VALIDATION_ERROR")
