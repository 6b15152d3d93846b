import base64
import json
import time  # new: sqlite
from contextlib import closing

import httpx2
import pytest

from support.service import PASSWORD, Account, Service, check_envelope

ORIGIN = "https://app.example.com"


def test_a_new_user_registers_verifies_and_logs_in(service: Service, anyone: httpx2.Client) -> None:
    address = service.new_address()
    answer = anyone.post("/auth/register", json={"email": address, "password": PASSWORD, "name": "Ann"})
    assert answer.status_code == 202
    login = {"username": address, "password": PASSWORD}
    check_envelope(anyone.post("/auth/login", data=login), 401, "INVALID_CREDENTIALS")
    token = service.token_in_mail(address)
    assert anyone.post("/auth/verify-email", json={"token": token}).status_code == 204
    tokens = anyone.post("/auth/login", data=login)
    assert tokens.status_code == 200
    assert tokens.headers["cache-control"] == "no-store"
    body = tokens.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 900)
    me = anyone.get("/users/me", headers={"Authorization": f"Bearer {body['access_token']}"}).json()
    assert set(me) == {"id", "email", "name", "role", "is_active", "email_verified", "created_at"}
    assert (me["email"], me["name"], me["role"]) == (address, "Ann", "user")
    assert me["is_active"] is True
    assert me["email_verified"] is True
    assert me["created_at"].endswith("Z")


def test_a_known_address_gets_the_same_answer_and_its_owner_a_mail(
    service: Service, anyone: httpx2.Client, user: Account
) -> None:
    first = anyone.post("/auth/register", json={"email": service.new_address(), "password": PASSWORD})
    again = anyone.post("/auth/register", json={"email": user.email.upper(), "password": "another plain long password"})
    assert (first.status_code, first.content) == (again.status_code, again.content) == (202, b"")
    assert "already" in service.mail(user.email, 2)["Subject"]
    check_envelope(
        anyone.post("/auth/login", data={"username": user.email, "password": "another plain long password"}),
        401,
        "INVALID_CREDENTIALS",
    )


def test_a_verification_token_is_good_once(service: Service, anyone: httpx2.Client) -> None:
    address = service.new_address()
    anyone.post("/auth/register", json={"email": address, "password": PASSWORD})
    token = service.token_in_mail(address)
    assert anyone.post("/auth/verify-email", json={"token": token}).status_code == 204
    check_envelope(anyone.post("/auth/verify-email", json={"token": token}), 422, "VALIDATION_ERROR")
    # Neither is it good for anything else.
    body = {"token": token, "password": "another plain long password"}
    check_envelope(anyone.post("/auth/reset-password", json=body), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "no address", "password": PASSWORD}, "email"),
        ({"email": "a@example.com", "password": "short"}, "password"),
        ({"email": "a@example.com", "password": "passwordpassword"}, "password"),
        ({"email": "a@example.com", "password": "x" * 2000}, "password"),
        ({"email": "a@example.com"}, "password"),
        ({"email": "a@example.com", "password": PASSWORD, "role": "admin"}, "role"),
        ({"email": "a@example.com", "password": PASSWORD, "is_active": True}, "is_active"),
        ({"email": "a@example.com", "password": PASSWORD, "name": "a\x00b"}, "name"),
    ],
)
def test_a_registration_that_does_not_hold_names_the_field(
    anyone: httpx2.Client, body: dict[str, object], field: str
) -> None:
    answer = check_envelope(anyone.post("/auth/register", json=body), 422, "VALIDATION_ERROR")
    assert [error["field"] for error in answer["field_errors"]] == [field]
    assert PASSWORD not in json.dumps(answer)


def test_a_login_fails_alike_for_every_reason(service: Service, anyone: httpx2.Client, user: Account) -> None:
    unverified = service.new_address()
    anyone.post("/auth/register", json={"email": unverified, "password": PASSWORD})
    bodies = []
    for username, password in [
        (user.email, "not the right password"),
        ("nobody@example.com", PASSWORD),
        (unverified, PASSWORD),
        ("'; DROP TABLE users; --", PASSWORD),
    ]:
        answer = anyone.post("/auth/login", data={"username": username, "password": password})
        body = check_envelope(answer, 401, "INVALID_CREDENTIALS")
        bodies.append({**body, "request_id": None})
    assert all(body == bodies[0] for body in bodies)


def test_login_takes_the_form_of_the_password_grant_alone(anyone: httpx2.Client, user: Account) -> None:
    credentials = {"username": user.email, "password": PASSWORD}
    check_envelope(anyone.post("/auth/login", json=credentials), 422, "VALIDATION_ERROR")
    assert anyone.post("/auth/login", data={**credentials, "grant_type": "password"}).status_code == 200
    refused = anyone.post("/auth/login", data={**credentials, "grant_type": "client_credentials"})
    check_envelope(refused, 422, "VALIDATION_ERROR")


def test_an_address_is_one_account_however_it_is_spelt(anyone: httpx2.Client, user: Account) -> None:
    answer = anyone.post("/auth/login", data={"username": user.email.upper(), "password": PASSWORD})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header",
    ["Bearer nonsense", "Bearer", "Basic YTpi", "Bearer " + "a" * 9000, "bearer a.b.c", "Bearer a.b.c d"],
)
def test_a_token_that_does_not_hold_is_a_401(anyone: httpx2.Client, header: str) -> None:
    check_envelope(anyone.get("/users/me", headers={"Authorization": header}), 401, "INVALID_TOKEN")


def test_no_token_is_a_401_without_an_error_in_the_challenge(anyone: httpx2.Client) -> None:
    answer = anyone.get("/users/me")
    check_envelope(answer, 401, "INVALID_TOKEN")
    assert answer.headers["www-authenticate"] == 'Bearer realm="api"'


def test_a_changed_token_is_refused(anyone: httpx2.Client, user: Account) -> None:
    header, payload, signature = user.access_token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["sub"] = "1"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    for token in [f"{header}.{forged}.{signature}", f"{none}.{payload}.", f"{none}.{payload}.{signature}"]:
        answer = anyone.get("/users/me", headers={"Authorization": f"Bearer {token}"})
        check_envelope(answer, 401, "INVALID_TOKEN")


def test_two_kinds_of_credentials_are_refused(anyone: httpx2.Client, user: Account) -> None:
    headers = {"Authorization": f"Bearer {user.access_token}", "X-API-Key": "hp_1_x"}
    assert anyone.get("/users/me", headers=headers).status_code == 400


def test_a_refresh_token_gives_a_new_pair_and_its_grandparent_ends_the_session(
    anyone: httpx2.Client, user: Account
) -> None:
    first = user.refresh_token
    second = anyone.post("/auth/refresh", json={"refresh_token": first}).json()
    assert second["refresh_token"] != first
    third = anyone.post("/auth/refresh", json={"refresh_token": second["refresh_token"]}).json()
    bearer = {"Authorization": f"Bearer {third['access_token']}"}
    assert anyone.get("/users/me", headers=bearer).status_code == 200
    check_envelope(anyone.post("/auth/refresh", json={"refresh_token": first}), 401, "TOKEN_REUSED")
    check_envelope(anyone.get("/users/me", headers=bearer), 401, "INVALID_TOKEN")
    dead = anyone.post("/auth/refresh", json={"refresh_token": third["refresh_token"]})
    check_envelope(dead, 401, "INVALID_TOKEN")


def test_logout_ends_access_and_refresh_tokens_at_once(anyone: httpx2.Client, user: Account) -> None:
    assert user.client.post("/auth/logout").status_code == 204
    check_envelope(user.client.get("/users/me"), 401, "INVALID_TOKEN")
    dead = anyone.post("/auth/refresh", json={"refresh_token": user.refresh_token})
    check_envelope(dead, 401, "INVALID_TOKEN")


def test_a_cookie_session_needs_an_allowed_origin_to_change_anything(service: Service, user: Account) -> None:
    with service.client() as browser:
        data = {"username": user.email, "password": PASSWORD}
        answer = browser.post("/auth/login", params={"session": "cookie"}, data=data)
        assert (answer.status_code, answer.content) == (204, b"")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert browser.get("/users/me").json()["email"] == user.email
        new = {"title": "From a page", "body": "…"}
        for origin in [None, "null", "https://evil.example.com", ORIGIN + ".evil.example.com"]:
            headers = {} if origin is None else {"Origin": origin}
            check_envelope(browser.post("/posts", json=new, headers=headers), 403, "FORBIDDEN")
        assert browser.post("/posts", json=new, headers={"Origin": ORIGIN}).status_code == 201
        assert browser.post("/auth/logout", headers={"Origin": ORIGIN}).status_code == 204
        check_envelope(browser.get("/users/me"), 401, "INVALID_TOKEN")


def test_sessions_are_listed_and_ended_one_by_one(service: Service, user: Account) -> None:
    second = service.log_in(user.email)
    with closing(second.client):
        page = user.client.get("/auth/sessions").json()
        assert set(page["items"][0]) == {"id", "device", "address", "created_at", "last_seen_at", "current"}
        assert [item["current"] for item in page["items"]] == [False, True]
        assert page["next_cursor"] is None
        assert user.client.delete(f"/auth/sessions/{page['items'][0]['id']}").status_code == 204
        check_envelope(second.client.get("/users/me"), 401, "INVALID_TOKEN")
        check_envelope(user.client.delete(f"/auth/sessions/{page['items'][0]['id']}"), 404, "NOT_FOUND")
    assert user.client.get("/users/me").status_code == 200


def test_one_logs_out_everywhere_at_once(service: Service, user: Account, other: Account) -> None:
    second = service.log_in(user.email)
    with closing(second.client):
        assert user.client.delete("/auth/sessions").status_code == 204
        for client in (user.client, second.client):
            check_envelope(client.get("/users/me"), 401, "INVALID_TOKEN")
            check_envelope(client.delete("/auth/sessions"), 401, "INVALID_TOKEN")
        for token in (user.refresh_token, second.refresh_token):
            dead = other.client.post("/auth/refresh", json={"refresh_token": token})
            check_envelope(dead, 401, "INVALID_TOKEN")
    assert other.client.get("/users/me").status_code == 200


def test_nobody_ends_another_users_session(user: Account, other: Account) -> None:
    mine = user.client.get("/auth/sessions").json()["items"][0]["id"]
    check_envelope(other.client.delete(f"/auth/sessions/{mine}"), 404, "NOT_FOUND")
    assert user.client.get("/users/me").status_code == 200


def test_a_forgotten_password_is_reset_by_mail(service: Service, anyone: httpx2.Client, user: Account) -> None:
    known = anyone.post("/auth/forgot-password", json={"email": user.email})
    unknown = anyone.post("/auth/forgot-password", json={"email": service.new_address()})
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (202, b"")
    token = service.token_in_mail(user.email, 2)
    new = "a completely new password"
    weak = anyone.post("/auth/reset-password", json={"token": token, "password": "aaaaaaaaaaaaaaaaaaaa"})
    check_envelope(weak, 422, "VALIDATION_ERROR")
    assert anyone.post("/auth/reset-password", json={"token": token, "password": new}).status_code == 204
    check_envelope(user.client.get("/users/me"), 401, "INVALID_TOKEN")
    old = anyone.post("/auth/login", data={"username": user.email, "password": PASSWORD})
    check_envelope(old, 401, "INVALID_CREDENTIALS")
    service.log_in(user.email, new).client.close()
    again = anyone.post("/auth/reset-password", json={"token": token, "password": new})
    check_envelope(again, 422, "VALIDATION_ERROR")


def test_a_new_password_needs_the_current_one_and_ends_the_other_sessions(service: Service, user: Account) -> None:
    second = service.log_in(user.email)
    new = "a completely new password"
    with closing(second.client):
        check_envelope(user.client.patch("/users/me", json={"password": new}), 422, "VALIDATION_ERROR")
        wrong = user.client.patch("/users/me", json={"password": new, "current_password": "wrong"})
        assert check_envelope(wrong, 422, "VALIDATION_ERROR")["field_errors"][0]["field"] == "current_password"
        changed = user.client.patch("/users/me", json={"password": new, "current_password": PASSWORD})
        assert changed.status_code == 200
        check_envelope(second.client.get("/users/me"), 401, "INVALID_TOKEN")
    assert user.client.get("/users/me").status_code == 200
    service.log_in(user.email, new).client.close()


# new: if realtime
def test_a_ws_ticket_is_given_to_a_user(user: Account, anyone: httpx2.Client) -> None:
    answer = user.client.post("/auth/ws-ticket")
    assert answer.status_code == 201
    assert set(answer.json()) == {"ticket", "expires_in"}
    assert answer.json()["expires_in"] == 30
    check_envelope(anyone.post("/auth/ws-ticket"), 401, "INVALID_TOKEN")


# new: end if
def test_the_key_set_is_empty_while_a_secret_signs(anyone: httpx2.Client) -> None:
    assert anyone.get("/.well-known/jwks.json").json() == {"keys": []}


# new: if api_keys
def test_api_keys_are_made_listed_and_revoked_by_admins(admin: Account, user: Account, anyone: httpx2.Client) -> None:
    new = {"name": "prometheus", "scopes": ["metrics"]}
    check_envelope(user.client.post("/api-keys", json=new), 403, "FORBIDDEN")
    check_envelope(anyone.post("/api-keys", json=new), 401, "INVALID_TOKEN")
    made = admin.client.post("/api-keys", json=new)
    assert made.status_code == 201
    key = made.json()
    assert key["key"].startswith(f"hp_{key['id']}_")
    listed = admin.client.get("/api-keys").json()["items"]
    assert [item for item in listed if item["id"] == key["id"]]
    assert all("key" not in item for item in listed)
    # A key is no user.
    check_envelope(anyone.get("/users/me", headers={"X-API-Key": key["key"]}), 401, "INVALID_TOKEN")
    assert admin.client.delete(f"/api-keys/{key['id']}").status_code == 204
    check_envelope(admin.client.delete(f"/api-keys/{key['id']}"), 404, "NOT_FOUND")


# new: end if
def test_a_refresh_token_logs_out_without_an_access_token_however_often(anyone: httpx2.Client, user: Account) -> None:
    body = {"refresh_token": user.refresh_token}
    for _ in range(2):
        assert anyone.post("/auth/logout", json=body).status_code == 204
    check_envelope(user.client.get("/users/me"), 401, "INVALID_TOKEN")
    check_envelope(anyone.post("/auth/refresh", json=body), 401, "INVALID_TOKEN")
    # Of a token that is none of ours nothing is told either (RFC 7009, section 2.2).
    assert anyone.post("/auth/logout", json={"refresh_token": "made-up"}).status_code == 204
    check_envelope(anyone.post("/auth/logout"), 401, "INVALID_TOKEN")


# new: if sqlite
def test_an_expired_access_token_does_not_keep_anybody_from_logging_out(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Service.started(tmp_path_factory.mktemp("short"), access_token_ttl="1") as short:
        account = short.sign_up()
        with closing(account.client) as client:
            # The leeway for clocks that differ is five seconds.
            deadline = time.monotonic() + 30
            while client.get("/users/me").status_code != 401 and time.monotonic() < deadline:
                time.sleep(0.2)
            check_envelope(client.post("/auth/logout"), 401, "INVALID_TOKEN")
            body = {"refresh_token": account.refresh_token}
            assert client.post("/auth/logout", json=body).status_code == 204
            check_envelope(client.post("/auth/refresh", json=body), 401, "INVALID_TOKEN")


# new: end if
@pytest.mark.parametrize("odd", ["\x00", "a\x00b@example.com", "\ud7ff\x00", "\U0010ffff"])
def test_text_that_a_database_cannot_hold_is_nobodys(anyone: httpx2.Client, user: Account, odd: str) -> None:
    answer = anyone.post("/auth/login", data={"username": odd, "password": PASSWORD})
    check_envelope(answer, 401, "INVALID_CREDENTIALS")
    answer = user.client.delete("/auth/sessions/a%00b")
    check_envelope(answer, 422, "VALIDATION_ERROR")
    for member, path in {"token": "/auth/verify-email", "refresh_token": "/auth/refresh"}.items():
        assert anyone.post(path, json={member: odd}).status_code in {401, 422}
    assert anyone.post("/auth/forgot-password", json={"email": odd}).status_code == 422
