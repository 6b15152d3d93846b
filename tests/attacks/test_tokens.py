"""Forged, twisted and misused tokens (section 3.1): each is a 401 that says nothing about why."""

import base64
import hashlib
import hmac
import json
import string
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from attacks.conftest import SECRET_KEY
from support.service import PASSWORD, Account, Service, check_envelope

Part = dict[str, Any]
KNOWN_SECRETS = ["", "secret", "change-me-change-me-change-me-0123456789", "hardpoint"]


def encoded(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(part: str) -> Part:
    value: Part = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return value


def signed(header: object, claims: object, key: str = SECRET_KEY, digest: str = "sha256") -> str:
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(key.encode(), text.encode(), digest))}"


def parts_of(account: Account) -> tuple[Part, Part]:
    header, claims, _ = account.access_token.split(".")
    return decoded(header), decoded(claims)


def refused(client: httpx2.Client, token: str) -> None:
    answer = client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
    body = check_envelope(answer, 401, "INVALID_TOKEN")
    assert answer.headers["www-authenticate"] == 'Bearer realm="api", error="invalid_token"'
    assert body["detail"] == "The access token is invalid, expired or revoked"


def test_a_token_signed_again_with_the_right_key_is_accepted_so_the_forgeries_below_fail_for_their_own_fault(
    anyone: httpx2.Client, user_of_module: Account
) -> None:
    header, claims = parts_of(user_of_module)
    answer = anyone.get("/users/me", headers={"Authorization": f"Bearer {signed(header, claims)}"})
    assert (answer.status_code, answer.json()["id"]) == (200, user_of_module.id)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "none ", "", "HS256 ", "hs256"])
@pytest.mark.parametrize("signature", ["", "kept", "signed"])
def test_no_spelling_of_alg_none_is_a_signature(
    anyone: httpx2.Client, user_of_module: Account, alg: str, signature: str
) -> None:
    header, claims = parts_of(user_of_module)
    kept = user_of_module.access_token.rpartition(".")[2]
    token = signed({**header, "alg": alg}, claims)
    if signature != "signed":
        token = f"{token.rpartition('.')[0]}.{kept if signature == 'kept' else ''}"
    refused(anyone, token)


@pytest.mark.parametrize("alg", ["HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256", ["HS256"], 256, None, True, {}])
def test_the_header_does_not_choose_the_algorithm(anyone: httpx2.Client, user_of_module: Account, alg: object) -> None:
    header, claims = parts_of(user_of_module)
    digest = {"HS384": "sha384", "HS512": "sha512"}.get(str(alg), "sha256")
    refused(anyone, signed({**header, "alg": alg}, claims, digest=digest))


@pytest.mark.parametrize("missing", ["alg", "typ", "kid"])
def test_no_header_parameter_may_be_missing(anyone: httpx2.Client, user_of_module: Account, missing: str) -> None:
    header, claims = parts_of(user_of_module)
    del header[missing]
    refused(anyone, signed(header, claims))


@pytest.mark.parametrize("secret", KNOWN_SECRETS)
def test_no_known_secret_signs(anyone: httpx2.Client, user_of_module: Account, secret: str) -> None:
    header, claims = parts_of(user_of_module)
    refused(anyone, signed(header, claims, secret))


def test_nothing_that_the_service_publishes_signs(anyone: httpx2.Client, user_of_module: Account) -> None:
    header, claims = parts_of(user_of_module)
    published = anyone.get("/.well-known/jwks.json").text
    for key in [published, json.dumps({"keys": []}), header["kid"], claims["iss"], claims["sid"], claims["jti"]]:
        refused(anyone, signed(header, claims, key))
        jwk = json.dumps({"kty": "oct", "k": encoded(key.encode())})
        refused(anyone, signed(header, claims, jwk))


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "' UNION SELECT 'x' -- ",
        "'; DROP TABLE users; --",
        "http://127.0.0.1/key",
        "file:///etc/passwd",
        "a" * 5_000,
        "",
        "\x00",
        "\ud800",
        0,
        None,
        True,
        ["x"],
        {"a": 1},
        1e308,
    ],
)
def test_a_key_id_is_compared_and_never_opened_fetched_or_run(
    anyone: httpx2.Client, user_of_module: Account, kid: object
) -> None:
    header, claims = parts_of(user_of_module)
    for key in ["", "x", SECRET_KEY]:
        refused(anyone, signed({**header, "kid": kid}, claims, key))


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t"])
def test_a_key_that_the_token_brings_or_points_to_is_not_used(
    anyone: httpx2.Client, user_of_module: Account, name: str
) -> None:
    header, claims = parts_of(user_of_module)
    mine = "a secret of the attacker's own 0123456789"
    brought: object = {"kty": "oct", "k": encoded(mine.encode()), "alg": "HS256", "kid": header["kid"]}
    if name != "jwk":
        brought = ["x"] if name == "x5c" else "http://127.0.0.1:1/keys.json"
    refused(anyone, signed({**header, name: brought}, claims, mine))
    refused(anyone, signed({**header, name: brought, "kid": "mine"}, claims, mine))


@pytest.mark.parametrize("extra", [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"crit": []}, {"crit": "x"}])
def test_critical_parameters_that_are_not_understood_are_refused(
    anyone: httpx2.Client, user_of_module: Account, extra: Part
) -> None:
    header, claims = parts_of(user_of_module)
    refused(anyone, signed({**header, **extra}, claims))


def test_an_unencoded_payload_is_no_payload(anyone: httpx2.Client, user_of_module: Account) -> None:
    header, claims = parts_of(user_of_module)
    header = {**header, "b64": False, "crit": ["b64"]}
    text = f"{encoded(header)}.{json.dumps(claims, separators=(',', ':'))}"
    signature = encoded(hmac.digest(SECRET_KEY.encode(), text.encode(), "sha256"))
    answer = anyone.get("/users/me", headers={"Authorization": f"Bearer {text}.{signature}"})
    check_envelope(answer, 401, "INVALID_TOKEN")


@pytest.mark.parametrize("typ", ["JWT", "jwt", "refresh+jwt", "rt+jwt", "ws+jwt", "id+jwt", "", None, 1, ["at+jwt"]])
def test_another_type_of_token_is_no_access_token(anyone: httpx2.Client, user_of_module: Account, typ: object) -> None:
    header, claims = parts_of(user_of_module)
    refused(anyone, signed({**header, "typ": typ}, claims))


WRONG_KINDS = ["missing", None, "", True, False, [], {}, 0, -1, 1.5, 1e300, 10**30, "x", "0"]


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        (claim, value)
        for claim in ["iss", "aud", "sub", "exp", "iat", "jti", "sid"]
        for value in WRONG_KINDS
        # Any text is a token's id.
        if claim != "jti" or value == "missing" or not isinstance(value, str)
    ],
)
def test_no_claim_may_be_missing_or_of_another_kind(
    anyone: httpx2.Client, user_of_module: Account, claim: str, value: object
) -> None:
    header, claims = parts_of(user_of_module)
    if value == "missing":
        del claims[claim]
    else:
        claims[claim] = value
    refused(anyone, signed(header, claims))


@pytest.mark.parametrize(
    "change",
    [
        lambda now, _: {"exp": now - 6, "iat": now - 60},
        lambda now, _: {"exp": now + 901, "iat": now},
        lambda now, _: {"exp": now + 100_000, "iat": now + 99_999},
        lambda now, _: {"iat": now + 60, "exp": now + 120},
        lambda now, _: {"exp": str(now + 100)},
        lambda now, _: {"exp": float(now + 100)},
        lambda now, _: {"exp": [now + 100]},
        lambda now, _: {"iat": str(now)},
        lambda now, _: {"iat": float(now)},
        lambda now, _: {"nbf": now + 60},
        lambda now, _: {"nbf": str(now)},
        lambda now, _: {"nbf": True},
        lambda now, _: {"nbf": None},
        lambda now, _: {"exp": float("inf")},
        lambda now, _: {"exp": float("nan")},
        lambda _, own: {"aud": [own["aud"]]},
        lambda _, own: {"aud": [own["aud"], "https://other.example.com"]},
        lambda _, own: {"aud": own["aud"] + "/"},
        lambda _, own: {"aud": own["aud"].upper()},
        lambda _, own: {"iss": own["iss"] + "/"},
        lambda _, own: {"iss": [own["iss"]]},
        lambda _, own: {"iss": "https://evil.example.com"},
        lambda _, own: {"sub": int(own["sub"])},
        lambda _, own: {"sub": "0" + own["sub"]},
        lambda _, own: {"sub": "+" + own["sub"]},
        lambda _, own: {"sub": " " + own["sub"]},
        lambda _, own: {"sub": own["sub"] + "\n"},
        lambda _, own: {"sub": own["sub"] + "\x00"},
        lambda _, own: {"sub": own["sub"] + ".0"},
        lambda _, own: {"sub": chr(0xFF10 + int(own["sub"][0])) + own["sub"][1:]},
        lambda _, own: {"sub": str(2**63)},
        lambda _, own: {"sub": "9" * 5_000},
        lambda _, own: {"sub": "\ud800"},
        lambda _, own: {"sid": own["sid"] + "x"},
        lambda _, own: {"sid": own["sid"].swapcase()},
        lambda _, own: {"sid": "' OR 1=1 --"},
        lambda _, own: {"sid": "%"},
        lambda _, own: {"sid": "\ud800"},
        lambda _, own: {"sid": own["sid"] + "\x00"},
    ],
)
def test_no_claim_may_be_bent(
    anyone: httpx2.Client, user_of_module: Account, change: Callable[[int, Part], Part]
) -> None:
    header, claims = parts_of(user_of_module)
    refused(anyone, signed(header, {**claims, **change(int(time.time()), claims)}))


def test_the_subject_must_be_the_sessions_own_user(
    anyone: httpx2.Client, user_of_module: Account, other: Account, admin: Account
) -> None:
    header, claims = parts_of(user_of_module)
    for stranger in [other, admin]:
        refused(anyone, signed(header, {**claims, "sub": str(stranger.id)}))


@pytest.mark.parametrize("claim", ["role", "is_admin", "scope", "scopes", "roles"])
def test_a_role_in_the_token_gives_no_rights(anyone: httpx2.Client, user_of_module: Account, claim: str) -> None:
    header, claims = parts_of(user_of_module)
    token = signed(header, {**claims, claim: "admin"})
    answer = anyone.get("/users", headers={"Authorization": f"Bearer {token}"})
    check_envelope(answer, 403, "FORBIDDEN")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"\xff\xfe",
        b"[" * 4_000,
        b"{" * 4_000,
        b'{"exp": NaN}',
        b"9" * 4_400,
    ],
)
def test_a_payload_that_is_no_object_is_refused(anyone: httpx2.Client, user_of_module: Account, payload: bytes) -> None:
    header, claims = parts_of(user_of_module)
    refused(anyone, signed(header, payload))
    refused(anyone, signed(payload, claims))


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "=",
        lambda token: token + "==",
        lambda token: token + "A",
        lambda token: token[:-1],
        lambda token: token + ".",
        lambda token: "." + token,
        lambda token: token + "." + token.rpartition(".")[2],
        lambda token: token.replace(".", ".."),
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.replace(".", "%2E"),
        lambda token: token.upper(),
        lambda token: token[:20] + "=" + token[20:],
        lambda token: token[:20] + " " + token[20:],
        lambda token: token + ",",
        lambda token: token + " x",
        lambda token: f'"{token}"',
        lambda token: "Bearer " + token,
        lambda token: token + "A" * 9_000,
        lambda _: "A" * 200_000,
        lambda _: ".." * 4_000,
        lambda _: "..",
        lambda _: "null",
        lambda _: "undefined",
    ],
)
def test_the_text_of_a_token_may_not_be_changed(
    anyone: httpx2.Client, user_of_module: Account, change: Callable[[str], str]
) -> None:
    refused(anyone, change(user_of_module.access_token))


def test_no_spelling_of_a_token_survives_its_logout(user: Account, anyone: httpx2.Client) -> None:
    assert user.client.get("/users/me").status_code == 200
    assert user.client.post("/auth/logout").status_code == 204
    last = user.access_token[:-1]
    for character in string.ascii_letters + string.digits + "-_":
        refused(anyone, last + character)
    for suffix in ["", "=", "==", "A"]:
        refused(anyone, user.access_token + suffix)


@pytest.mark.parametrize("place", ["query", "cookie", "x-authorization", "body", "basic", "proxy"])
def test_a_token_counts_in_its_own_header_alone(anyone: httpx2.Client, user_of_module: Account, place: str) -> None:
    token = user_of_module.access_token
    options: dict[str, Any] = {
        "query": {"params": {"token": token, "access_token": token}},
        "cookie": {"headers": {"Cookie": f"session={token}; access_token={token}; Authorization=Bearer {token}"}},
        "x-authorization": {"headers": {"X-Authorization": f"Bearer {token}", "X-Access-Token": token}},
        "body": {"content": f"access_token={token}", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        "basic": {"headers": {"Authorization": "Basic " + base64.b64encode(f"x:{token}".encode()).decode()}},
        "proxy": {"headers": {"Proxy-Authorization": f"Bearer {token}"}},
    }[place]
    answer = anyone.request("GET", "/users/me", **options)
    check_envelope(answer, 401, "INVALID_TOKEN")
    assert token not in answer.text


def test_two_credentials_are_none(anyone: httpx2.Client, user_of_module: Account, admin: Account) -> None:
    own, foreign = f"Bearer {user_of_module.access_token}", f"Bearer {admin.access_token}"
    for headers in [
        [("Authorization", own), ("Authorization", foreign)],
        [("Authorization", own), ("authorization", own)],
        [("Authorization", own), ("X-API-Key", "hp_1_x")],
        [("X-API-Key", "hp_1_x"), ("X-API-Key", "hp_1_x")],
    ]:
        check_envelope(anyone.get("/users/me", headers=headers), 400, "INVALID_REQUEST")


def mail_token(service: Service, anyone: httpx2.Client, account: Account, kind: str) -> str:
    if kind == "verify-email":
        return service.token_in_mail(account.email)
    assert anyone.post("/auth/forgot-password", json={"email": account.email}).status_code == 202
    return service.token_in_mail(account.email, 2)


def test_one_kind_of_token_is_never_another(
    service: Service, anyone: httpx2.Client, user: Account, admin: Account
) -> None:
    ticket = user.client.post("/auth/ws-ticket").json()["ticket"]
    key = admin.client.post("/api-keys", json={"name": "k", "scopes": ["metrics"]}).json()["key"]
    login = anyone.post(
        "/auth/login", params={"session": "cookie"}, data={"username": user.email, "password": PASSWORD}
    )
    cookie = login.headers["set-cookie"].partition("=")[2].partition(";")[0]
    anyone.cookies.clear()
    verify = mail_token(service, anyone, user, "verify-email")
    reset = mail_token(service, anyone, user, "reset-password")
    new = "a completely new password"
    for token in [user.refresh_token, ticket, key, cookie, verify, reset]:
        refused(anyone, token)
    for token in [user.access_token, ticket, key, cookie, verify, reset]:
        answer = anyone.post("/auth/refresh", json={"refresh_token": token})
        check_envelope(answer, 401 if len(token) <= 512 else 422, "INVALID_TOKEN" if len(token) <= 512 else "X")
    for token in [user.access_token, user.refresh_token, ticket, key, verify, reset]:
        answer = anyone.get("/users/me", headers={"Cookie": f"session={token}"})
        check_envelope(answer, 401, "INVALID_TOKEN")
    for token in [user.access_token, user.refresh_token, ticket, key, cookie, reset]:
        answer = anyone.post("/auth/verify-email", json={"token": token})
        check_envelope(answer, 422, "VALIDATION_ERROR")
    for token in [user.access_token, user.refresh_token, ticket, key, cookie, verify]:
        answer = anyone.post("/auth/reset-password", json={"token": token, "password": new})
        check_envelope(answer, 422, "VALIDATION_ERROR")
    for token in [user.access_token, user.refresh_token, ticket, key, cookie, verify, reset]:
        answer = anyone.get("/users/me", headers={"X-API-Key": token})
        check_envelope(answer, 401, "INVALID_TOKEN")
    # Each was good all the time, for what it is for.
    assert user.client.get("/users/me").status_code == 200
    assert anyone.get("/users/me", headers={"Cookie": f"session={cookie}"}).status_code == 200
    assert anyone.post("/auth/verify-email", json={"token": verify}).status_code == 204
    assert anyone.post("/auth/refresh", json={"refresh_token": user.refresh_token}).status_code == 200
    assert anyone.post("/auth/reset-password", json={"token": reset, "password": new}).status_code == 204


@pytest.mark.parametrize(
    "change",
    [
        lambda session, generation, mac: f"{session}.{int(generation) + 1}.{mac}",
        lambda session, generation, mac: f"{session}.-{generation}.{mac}",
        lambda session, _, mac: f"{session}.\uff10.{mac}",
        lambda session, _, mac: f"{session}.999999999999.{mac}",
        lambda session, generation, mac: f"{session}.{generation}.{mac}=",
        lambda session, generation, mac: f"{session}.{generation}.{mac}\n",
        lambda session, generation, mac: f" {session}.{generation}.{mac}",
        lambda session, generation, mac: f"{session}.{generation}.{mac[:-1]}",
        lambda session, generation, mac: f"{session}.{generation}.{'A' * len(mac)}",
        lambda session, generation, mac: f"{session.swapcase()}.{generation}.{mac}",
        lambda session, generation, mac: f"{session}.{generation}.{mac.swapcase()}",
        lambda session, generation, _: f"{session}.{generation}.",
        lambda session, generation, _: f"{session}.{generation}",
        lambda session, generation, mac: f"{session}..{generation}.{mac}",
        lambda session, generation, mac: f"{session}.{generation}.{mac}\x00",
        lambda *_: "' OR 1=1 --.0." + "A" * 43,
        lambda session, *_: f"{session}.0." + hashlib.sha256(session.encode()).hexdigest()[:43],
    ],
)
def test_a_refresh_token_may_not_be_changed(
    anyone: httpx2.Client, user_of_module: Account, change: Callable[..., str]
) -> None:
    token = change(*user_of_module.refresh_token.split("."))
    answer = anyone.post("/auth/refresh", json={"refresh_token": token})
    check_envelope(answer, 401, "INVALID_TOKEN")
    assert token.strip() not in answer.text


def test_a_refresh_token_has_one_spelling(anyone: httpx2.Client, user: Account) -> None:
    session, generation, mac = user.refresh_token.split(".")
    for zeros in ["0", "00", "0000000"]:
        answer = anyone.post("/auth/refresh", json={"refresh_token": f"{session}.{zeros}{generation}.{mac}"})
        check_envelope(answer, 401, "INVALID_TOKEN")


def test_another_sessions_mac_does_not_fit(anyone: httpx2.Client, user: Account, other: Account) -> None:
    session, generation, _ = user.refresh_token.split(".")
    mac = other.refresh_token.rpartition(".")[2]
    answer = anyone.post("/auth/refresh", json={"refresh_token": f"{session}.{generation}.{mac}"})
    check_envelope(answer, 401, "INVALID_TOKEN")
    assert anyone.post("/auth/refresh", json={"refresh_token": user.refresh_token}).status_code == 200


@pytest.mark.parametrize(
    "key", ["", "hp", "hp__", "hp_1_", "hp_0_x", "hp_-1_x", "hp_1e3_x", "hp_\u0661_x", "hp_" + "9" * 40]
)
def test_a_made_up_api_key_is_nobody(anyone: httpx2.Client, key: str) -> None:
    answer = anyone.get("/users/me", headers=[(b"X-API-Key", key.encode())])
    check_envelope(answer, 401, "INVALID_TOKEN")
