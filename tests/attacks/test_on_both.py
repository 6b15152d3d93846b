"""What the long modules about tokens and guards try in every form, tried once on each database."""

import time
from collections.abc import Callable
from typing import Any

import httpx2
from pwdlib.hashers.argon2 import Argon2Hasher

from attacks.conftest import BOTH, SECRET_KEY, rows
from attacks.test_tokens import encoded, parts_of, refused, signed
from support.service import PASSWORD, Account, Service, check_envelope

DATABASES = BOTH

Part = dict[str, Any]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_no_forged_token_is_one(anyone: httpx2.Client, user_of_module: Account) -> None:
    header, claims = parts_of(user_of_module)
    # What is wrong below is wrong for its own fault: signed anew with nothing changed, the token holds.
    assert anyone.get("/users/me", headers=bearer(signed(header, claims))).status_code == 200
    brought = {"kty": "oct", "k": encoded(b"x" * 32), "kid": header["kid"]}
    headers: list[Part] = [
        {"alg": "none"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"typ": "JWT"},
        {"typ": "refresh+jwt"},
        {"kid": "../../../../dev/null"},
        {"kid": "' UNION SELECT 'x' -- "},
        {"crit": ["exp"]},
        {"b64": False, "crit": ["b64"]},
    ]
    now = int(time.time())
    changed: list[Part] = [
        {"sub": user_of_module.id},
        {"sub": f"0{user_of_module.id}"},
        {"sub": str(user_of_module.id + 1)},
        {"iss": "https://elsewhere.example.com"},
        {"aud": [claims["aud"]]},
        {"exp": str(now + 100)},
        {"exp": True},
        {"exp": now + 100_000},
        {"sid": "another"},
        {"jti": 7},
    ]
    for difference in headers:
        refused(anyone, signed({**header, **difference}, claims))
    for difference in changed:
        refused(anyone, signed(header, {**claims, **difference}))
    for name in ("iss", "aud", "sub", "exp", "iat", "jti", "sid"):
        refused(anyone, signed(header, {key: value for key, value in claims.items() if key != name}))
    refused(anyone, signed({**header, "jwk": brought}, claims, "x" * 32))
    refused(anyone, signed({**header, "x": "x" * 9_000}, claims))
    refused(anyone, user_of_module.refresh_token)
    refused(anyone, "a.b.c")


def test_clocks_may_differ_by_five_seconds_and_no_more(anyone: httpx2.Client, user_of_module: Account) -> None:
    header, claims = parts_of(user_of_module)

    def token(seconds: int) -> str:
        now = int(time.time()) + seconds
        return signed(header, {**claims, "iat": now, "exp": now + 900})

    assert anyone.get("/users/me", headers=bearer(token(3))).status_code == 200
    refused(anyone, token(60))
    refused(anyone, token(-906))


def test_no_spelling_of_a_token_outlives_its_logout(anyone: httpx2.Client, user: Account) -> None:
    header, claims = parts_of(user)
    assert anyone.post("/auth/logout", headers=bearer(user.access_token)).status_code == 204
    for token in (user.access_token, f"{user.access_token}=", signed(header, {**claims, "jti": "another"})):
        refused(anyone, token)


def test_a_role_in_a_token_is_nothing(anyone: httpx2.Client, user_of_module: Account) -> None:
    header, claims = parts_of(user_of_module)
    for claim in ({"role": "admin"}, {"roles": ["admin"]}, {"scope": "admin"}):
        check_envelope(anyone.get("/users", headers=bearer(signed(header, {**claims, **claim}))), 403, "FORBIDDEN")


def test_what_asks_for_a_token_asks_for_one_on_every_route(
    anyone: httpx2.Client, openapi: Part, fill: Callable[[str], str]
) -> None:
    guarded = [
        (method.upper(), path)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
        # An empty requirement beside others: who says nothing is nobody, and may.
        if operation.get("security") and {} not in operation["security"]
    ]
    assert len(guarded) >= 20
    for headers in ({}, bearer(signed({}, {}, SECRET_KEY))):
        told = {
            (method, path): anyone.request(method, fill(path), headers=headers).status_code for method, path in guarded
        }
        assert set(told.values()) == {401}, told


def test_a_login_makes_an_outdated_hash_anew_and_a_failure_does_not(
    service: Service, anyone: httpx2.Client, user: Account
) -> None:
    outdated = Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)

    def stored() -> str:
        with rows(service) as database:
            return str(database.one("SELECT password_hash FROM users WHERE id = ?", user.id))

    with rows(service) as database:
        database.execute("UPDATE users SET password_hash = ? WHERE id = ?", (outdated, user.id))
    wrong = {"username": user.email, "password": f"{PASSWORD}!"}
    check_envelope(anyone.post("/auth/login", data=wrong), 401, "INVALID_CREDENTIALS")
    assert stored() == outdated
    assert anyone.post("/auth/login", data={"username": user.email, "password": PASSWORD}).status_code == 200
    assert "m=19456,t=2,p=1" in stored()
