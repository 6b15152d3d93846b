"""Requests that say who asks in an odd way, or ask for a guarded thing by an odd name: nobody gets further by it."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from websockets import InvalidStatus
from websockets.asyncio.client import connect

from attacks.conftest import ORIGIN, Operation, Wire
from support.service import PASSWORD, Account, Service, check_envelope

# What stands in front of the service says that a request came over https.
SETTINGS = {"trusted_proxies": "127.0.0.1"}
HTTPS = {"X-Forwarded-Proto": "https"}
NEW_POST = {"title": "Written by a page", "body": "That was not asked."}


def cookie_of(service: Service, account: Account, *, https: bool = False) -> tuple[str, str]:
    """The name and value of a session cookie."""
    with service.client(headers=HTTPS if https else {}) as client:
        answer = client.post("/auth/login?session=cookie", data={"username": account.email, "password": PASSWORD})
    assert answer.status_code == 204
    name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
    return name, value


@pytest.fixture(scope="module")
def cookie(service: Service, user_of_module: Account) -> str:
    return cookie_of(service, user_of_module)[1]


@pytest.fixture(scope="module")
def host_cookie(service: Service, user_of_module: Account) -> str:
    name, value = cookie_of(service, user_of_module, https=True)
    assert name == "__Host-session"
    return value


# Cookies


def test_a_cookie_is_as_locked_up_as_a_cookie_can_be(anyone: httpx2.Client, user_of_module: Account) -> None:
    form = {"username": user_of_module.email, "password": PASSWORD}
    over_http = anyone.post("/auth/login?session=cookie", data=form).headers
    over_https = anyone.post("/auth/login?session=cookie", data=form, headers=HTTPS).headers
    for headers in (over_http, over_https):
        attributes = {part.strip().lower() for part in headers["set-cookie"].split(";")[1:]}
        assert {"httponly", "path=/", "samesite=lax", "max-age=7776000"} <= attributes
        assert not any(attribute.startswith("domain") for attribute in attributes)
        assert headers["cache-control"] == "no-store"
        assert ("secure" in attributes) == (headers is over_https)
    assert over_http["set-cookie"].startswith("session=")
    # With this name a browser insists on Secure and Path=/, and that no subdomain has set it.
    assert over_https["set-cookie"].startswith("__Host-session=")
    anyone.cookies.clear()


def test_over_https_the_cookie_with_the_prefix_alone_counts(
    anyone: httpx2.Client, cookie: str, host_cookie: str
) -> None:
    for header, over_https, status in [
        (f"__Host-session={host_cookie}", True, 200),
        # What a subdomain, or somebody on plain http, could have set.
        (f"session={host_cookie}", True, 401),
        (f"__host-session={host_cookie}", True, 401),
        (f"__Secure-session={host_cookie}", True, 401),
        (f"__Host-Session={host_cookie}", True, 401),
        (f"__Host-session={host_cookie}", False, 401),
        (f"session={cookie}", False, 200),
    ]:
        answer = anyone.get("/users/me", headers={"Cookie": header, **(HTTPS if over_https else {})})
        assert answer.status_code == status, header


@pytest.mark.parametrize(
    "spelling",
    [
        "Session={}",
        "SESSION={}",
        "session ={}",
        "session= {}",
        "session\t={}",
        'session="{}"',
        "session={}x",
        "session={}=",
        "session=={}",
        "$session={}",
        "session[]={}",
        "session.x={}",
        "={}",
        "session",
        "session%3D{}",
        "%73ession={}",
        "x=session={}",
        "\u00a0session={}",
        "\u0085session={}",
        "\u2000session={}",
        "session\u00a0={}",
        'a="; session={}"',
        "a=b, session={}",
    ],
)
def test_another_spelling_of_the_cookie_is_none(anyone: httpx2.Client, cookie: str, spelling: str) -> None:
    """In bytes of latin-1 and of UTF-8: Python strips more as white space than any browser does."""
    text = spelling.format(cookie)
    for encoding in ("latin-1", "utf-8"):
        try:
            raw = text.encode(encoding)
        except UnicodeEncodeError:
            continue
        check_envelope(anyone.get("/users/me", headers=[(b"Cookie", raw)]), 401, "INVALID_TOKEN")


def test_of_two_session_cookies_none_is_chosen(service: Service, wire: Wire, cookie: str, other: Account) -> None:
    """A page of another port or path may have set one of them."""
    foreign = cookie_of(service, other)[1]
    for headers in [
        f"Cookie: session={cookie}; session={foreign}",
        f"Cookie: session={cookie}; session={cookie}",
        f"Cookie: session={cookie}\r\nCookie: session={foreign}",
        f"Cookie: session=; session={cookie}",
    ]:
        answer = wire.answer(f"GET /users/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n\r\n".encode())
        check_envelope(answer, 400, "INVALID_REQUEST")


# Origins

FOREIGN = [
    "null",
    "",
    "https://evil.example.com",
    f"{ORIGIN}.evil.example.com",
    f"{ORIGIN}/",
    f"{ORIGIN}/path",
    f"{ORIGIN}:443",
    f"{ORIGIN}:8443",
    f"{ORIGIN}@evil.example.com",
    "https://user@app.example.com",
    "https://app.example.com@evil.example.com",
    "https://evil.example.com#@app.example.com",
    "https://APP.example.com",
    "HTTPS://app.example.com",
    "http://app.example.com",
    "https:app.example.com",
    "//app.example.com",
    "app.example.com",
    "https://app.example.com.",
    "https://app%2eexample.com",
    "https://app.example.com\\.evil.example.com",
    "https://xapp.example.com",
    "https://example.com",
    "https://sub.app.example.com",
    f"{ORIGIN}, https://evil.example.com",
    f"https://evil.example.com {ORIGIN}",
    f"{ORIGIN} {ORIGIN}",
    "file://",
    "chrome-extension://abcdefghijklmnop",
    "https://\u0430pp.example.com",
    "*",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_of_another_origin_does_nothing_with_a_cookie(anyone: httpx2.Client, cookie: str, origin: str) -> None:
    headers = [(b"Cookie", f"session={cookie}".encode()), (b"Origin", origin.encode())]
    before = anyone.get("/users/me", headers=headers[:1]).json()
    for method, path, body in [
        ("POST", "/posts", NEW_POST),
        ("PATCH", "/users/me", {"name": "Eve"}),
        ("POST", "/auth/ws-ticket", None),
        ("POST", "/auth/logout", None),
        ("DELETE", "/auth/sessions", None),
        ("DELETE", "/auth/sessions/x", None),
    ]:
        check_envelope(anyone.request(method, path, json=body, headers=headers), 403, "FORBIDDEN")
    assert anyone.get("/users/me", headers=headers[:1]).json() == before


def test_no_origin_or_two_do_nothing_with_a_cookie_either(anyone: httpx2.Client, cookie: str) -> None:
    own = (b"Cookie", f"session={cookie}".encode())
    for origins in [[], [ORIGIN, ORIGIN], [ORIGIN, "https://evil.example.com"]]:
        headers = [own, *((b"Origin", origin.encode()) for origin in origins)]
        check_envelope(anyone.post("/posts", json=NEW_POST, headers=headers), 403, "FORBIDDEN")
    # A referrer is no origin.
    headers = [own, (b"Referer", f"{ORIGIN}/".encode())]
    check_envelope(anyone.post("/posts", json=NEW_POST, headers=headers), 403, "FORBIDDEN")
    assert anyone.post("/posts", json=NEW_POST, headers=[own, (b"Origin", ORIGIN.encode())]).status_code == 201


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_of_another_origin_opens_no_socket_with_a_cookie(
    service: Service, cookie: str, origin: str
) -> None:
    if not origin.strip() or not origin.isascii():
        # A client library sends neither.
        return
    headers = {"Cookie": f"session={cookie}"}
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{service.url.replace('http', 'ws')}/ws", additional_headers=headers, origin=origin):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", [origin for origin in FOREIGN if origin.strip()])
def test_a_foreign_page_puts_nobody_into_an_account_of_its_own(
    anyone: httpx2.Client, user_of_module: Account, origin: str
) -> None:
    """With a cookie, its visitors would act as somebody whose password the page knows."""
    form = {"username": user_of_module.email, "password": PASSWORD}
    answer = anyone.post("/auth/login?session=cookie", data=form, headers=[(b"Origin", origin.encode())])
    check_envelope(answer, 403, "FORBIDDEN")
    assert "set-cookie" not in answer.headers


def test_a_page_of_the_services_own_logs_in_with_a_cookie(anyone: httpx2.Client, user_of_module: Account) -> None:
    form = {"username": user_of_module.email, "password": PASSWORD}
    answer = anyone.post("/auth/login?session=cookie", data=form, headers={"Origin": ORIGIN})
    assert answer.status_code == 204
    anyone.cookies.clear()


# Authorization


@pytest.mark.parametrize(
    "lines",
    [
        "Authorization: Bearer {0}\r\nAuthorization: Bearer {1}",
        "Authorization: Bearer {0}\r\nAUTHORIZATION: Bearer {0}",
        "Authorization: Bearer {0}\r\nauthorization:",
        "Authorization: Bearer {0}, Bearer {1}",
        "Authorization: Bearer {0} {1}",
        "Authorization: Bearer {0};x=y",
        "Authorization: Bearer\t{0}",
        "Authorization: Bearer{0}",
        "Authorization: Bearer: {0}",
        "Authorization: Bearer token={0}",
        'Authorization: Bearer "{0}"',
        "Authorization: Token {0}",
        "Authorization: {0}",
        "Authorization: Bearer Bearer {0}",
        "Authorization: Bearer \u00a0{0}",
        "Authorization: Bearer {0}\u00a0",
        "Authorization: Bearer {0}\u0085",
        "Authorization:\r\n Bearer {0}",
        "Authorization : Bearer {0}",
        " Authorization: Bearer {0}",
        "X: y\r\n Authorization: Bearer {0}",
        "X: y\nAuthorization: Bearer {0}",
        "X: y\rAuthorization: Bearer {0}",
        "X: y\x00Authorization: Bearer {0}",
        "Authorization_: Bearer {0}",
        "HTTP_AUTHORIZATION: Bearer {0}",
        "X-Forwarded-Authorization: Bearer {0}",
        "X-Original-Authorization: Bearer {0}",
        "Authorization: Bearer {0}\r\nX-API-Key: hp_1_x",
    ],
)
def test_an_odd_header_is_never_somebody_else(wire: Wire, user_of_module: Account, admin: Account, lines: str) -> None:
    """The server may read it as the user's own, or refuse it; it never reads it as the admin's, and never breaks."""
    sent = lines.format(user_of_module.access_token, admin.access_token).encode("latin-1")
    received = wire.send(b"GET /users/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + sent + b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 (200|400|401) ", received), received[:200]
    assert admin.email.encode() not in received
    if not received.startswith(b"HTTP/1.1 200"):
        assert user_of_module.email.encode() not in received
    # A line of its own may end with a bare line feed, and spaces around a value are none of it; all else is an error.
    readable = {"X: y\nAuthorization: Bearer {0}", "Authorization:\r\n Bearer {0}"}
    assert received.startswith(b"HTTP/1.1 200") <= (lines in readable)


def test_a_trailer_is_no_header(wire: Wire, user_of_module: Account) -> None:
    request = (
        "POST /posts HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n"
        "2\r\n{}\r\n0\r\n"
        f"Authorization: Bearer {user_of_module.access_token}\r\n\r\n"
    )
    check_envelope(wire.answer(request.encode()), 401, "INVALID_TOKEN")


def test_a_scheme_may_be_written_in_any_case(anyone: httpx2.Client, user_of_module: Account) -> None:
    """RFC 9110, section 11.1."""
    for scheme in ("bearer", "BEARER", "BeArEr"):
        headers = {"Authorization": f"{scheme} {user_of_module.access_token}"}
        assert anyone.get("/users/me", headers=headers).status_code == 200


# Paths and methods

ODD_PATHS = [
    "/users/",
    "/users/me/",
    "//users/me",
    "///users/me",
    "/users//me",
    "/USERS/me",
    "/Users/Me",
    "/users/%6de",
    "/users/%6D%65",
    "/users%2fme",
    "/users/me%2f",
    "/users/me%00",
    "/users/me%0a",
    "/users/me%20",
    "/users/me%3f",
    "/users/me;x=y",
    "/users/me.json",
    "/users/./me",
    "/users/../users/me",
    "/posts/../users/me",
    "/health/live/../../users/me",
    "/health/live%2f..%2f..%2fusers%2fme",
    "/docs-assets/../users/me",
    "/docs-assets/%2e%2e/users/me",
    "/docs-assets/..%2f..%2f..%2fauth/__init__.py",
    "/docs-assets/..%5c..%5cauth",
    "/.well-known/../users",
    "/users\\me",
    "/users/me#x",
    "http://x/users/me",
    "http://evil.example.com/users",
    "https://x/internal/metrics",
    "/internal//metrics",
    "/internal/metrics/",
    "/internal/%6detrics",
    "/INTERNAL/metrics",
    "/api-keys/",
    "/api-keys?x=/health/live",
    "*",
]
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get", "GETX", "X"]


@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_guarded_path_is_guarded_however_it_is_spelt(wire: Wire, admin: Account, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        received = wire.send(head.encode())
        assert re.match(rb"HTTP/1\.1 (400|401|404|405|415|422) ", received), (method, received[:200])
        assert admin.email.encode() not in received
        assert b"prometheus" not in received


@pytest.fixture(scope="module")
def guarded(openapi: dict[str, Any], fill: Callable[[str], str]) -> list[tuple[str, set[str]]]:
    """Every path with the methods of it that need somebody."""
    found = [
        (fill(path), {method.upper() for method, operation in item.items() if _is_guarded(operation)})
        for path, item in openapi["paths"].items()
    ]
    assert sum(len(methods) for _, methods in found) >= 20
    return found


def _is_guarded(operation: dict[str, Any]) -> bool:
    return bool(operation.get("security")) and {} not in operation["security"]


@pytest.mark.parametrize("method", METHODS)
def test_no_method_gets_past_a_guard(wire: Wire, guarded: list[tuple[str, set[str]]], method: str) -> None:
    for path, methods in guarded:
        if not methods:
            continue
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
        override = "X-HTTP-Method-Override: GET\r\nX-HTTP-Method: GET\r\nX-Method-Override: GET\r\n"
        for more in ("", override):
            received = wire.send(f"{head}{more}\r\n".encode())
            status = int(received[9:12])
            # Of a path that has a public method too, that one answers.
            public = method in {"GET", "HEAD"} and "GET" not in methods
            assert status in {400, 401, 405, 422} or (public and status in {200, 404}), (path, received[:200])
            if method in methods:
                assert status == 401, (path, received[:200])


def test_a_preflight_tells_nothing_about_what_is_behind_it(
    anyone: httpx2.Client, guarded: list[tuple[str, set[str]]]
) -> None:
    for path, _ in [*guarded, ("/nothing", set())]:
        for origin, allowed in [(ORIGIN, True), ("https://evil.example.com", False), ("null", False)]:
            headers = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
            answer = anyone.options(path, headers=headers)
            assert ("access-control-allow-origin" in answer.headers) == allowed
            assert answer.status_code in ({200, 204} if allowed else {400, 403, 404, 405})


def test_every_answer_to_somebody_is_kept_by_nobody(
    anyone: httpx2.Client, admin: Account, cookie: str, openapi: dict[str, Any], fill: Callable[[str], str]
) -> None:
    """Whatever the status: a 404 may be a 200 for the next who asks."""
    ways = [
        {"Authorization": f"Bearer {admin.access_token}"},
        {"Authorization": "Bearer x"},
        {"Cookie": f"session={cookie}"},
        {"X-API-Key": "hp_1_x"},
    ]
    asked = 0
    for path, item in openapi["paths"].items():
        if "get" not in item or path == "/events":
            continue
        for headers in ways:
            answer = anyone.get(fill(path), headers=headers)
            expected = "public, max-age=300" if path == "/.well-known/jwks.json" else "no-store"
            assert answer.headers.get("cache-control") == expected, path
            asked += 1
    assert asked >= 40


def test_what_gives_a_secret_away_is_kept_by_nobody(service: Service, anyone: httpx2.Client, admin: Account) -> None:
    form = {"username": admin.email, "password": PASSWORD}
    tokens = anyone.post("/auth/login", data=form)
    answers = [
        tokens,
        anyone.post("/auth/login?session=cookie", data=form),
        anyone.post("/auth/refresh", json={"refresh_token": tokens.json()["refresh_token"]}),
        admin.client.post("/auth/ws-ticket"),
        admin.client.post("/api-keys", json={"name": "k", "scopes": ["metrics"]}),
    ]
    anyone.cookies.clear()
    for answer in answers:
        assert answer.status_code in {200, 201, 204}
        assert answer.headers["cache-control"] == "no-store"


# Who may do what

SET_BY_THE_SERVICE = [
    "id",
    "role",
    "roles",
    "is_active",
    "is_admin",
    "is_superuser",
    "admin",
    "email_verified",
    "is_verified",
    "email_key",
    "password_hash",
    "created_at",
    "owner_id",
    "author_id",
    "user_id",
    "status",
    "published_at",
    "digest",
    "secret",
    "key",
    "revoked_at",
    "last_used_at",
    "session_id",
    "generation",
    "__class__",
    "_sa_instance_state",
    "metadata",
    "email[]",
]


def test_no_input_takes_a_member_that_it_does_not_name(
    admin: Account, json_operations: list[Operation], fill: Callable[[str], str], user_of_module: Account
) -> None:
    tried = 0
    for operation in json_operations:
        for member in SET_BY_THE_SERVICE:
            if member in operation.members:
                continue
            body = {**operation.example, member: "admin"}
            answer = admin.client.request(operation.method, fill(operation.path), json=body)
            problems = check_envelope(answer, 422, "VALIDATION_ERROR")["field_errors"]
            assert [(problem["field"], problem["code"]) for problem in problems] == [(member, "extra_forbidden")]
            tried += 1
    assert tried >= 250
    assert user_of_module.client.get("/users/me").json()["role"] == "user"


def test_a_login_takes_no_further_field_and_gives_no_rights_for_those_it_knows(
    anyone: httpx2.Client, user_of_module: Account
) -> None:
    form = {"username": user_of_module.email, "password": PASSWORD}
    for member in SET_BY_THE_SERVICE:
        answer = anyone.post("/auth/login", data={**form, member: "admin"})
        check_envelope(answer, 422, "VALIDATION_ERROR")
    known = {"scope": "admin", "client_id": "admin", "client_secret": "admin", "grant_type": "password"}
    token = anyone.post("/auth/login", data={**form, **known}).json()["access_token"]
    answer = anyone.get("/users", headers={"Authorization": f"Bearer {token}"})
    check_envelope(answer, 403, "FORBIDDEN")


IDS = ["0", "-1", "9223372036854775808", "18446744073709551617", "9" * 400, "1e3", "1.5", "0x1", "%00", "1%00", "null"]
IDS += ["\u0661", "\uff11", "\u00bd", "1 OR 1=1", "1;2", "1,2", "[1]", "true", "NaN", "Infinity", "__proto__"]


@pytest.fixture(scope="module")
def numbered(openapi: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every method and path with a number in it, and an example of its body."""
    schemas = openapi["components"]["schemas"]
    found = []
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            parameters = operation.get("parameters", [])
            if any(one["in"] == "path" and one["schema"].get("type") == "integer" for one in parameters):
                content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
                name = str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]
                example = (schemas.get(name, {}).get("examples") or [{}])[0]
                found.append((method.upper(), path, example))
    assert len(found) >= 10
    return found


@pytest.mark.parametrize("number", IDS)
def test_what_is_no_id_is_a_422_on_every_route(
    admin: Account, numbered: list[tuple[str, str, dict[str, Any]]], number: str
) -> None:
    for method, path, body in numbered:
        answer = admin.client.request(method, re.sub(r"\{\w+\}", number, path), json=body or None)
        assert answer.status_code in {404, 422}, (method, path, answer.text)
        check_envelope(answer, answer.status_code, "VALIDATION_ERROR" if answer.status_code == 422 else "NOT_FOUND")


def test_the_largest_id_there_can_be_is_nobodys(
    admin: Account, numbered: list[tuple[str, str, dict[str, Any]]]
) -> None:
    for method, path, body in numbered:
        answer = admin.client.request(method, re.sub(r"\{\w+\}", str(2**63 - 1), path), json=body or None)
        if method == "GET" and path.endswith("/comments") and answer.status_code == 200:
            continue
        check_envelope(answer, 404, "NOT_FOUND")


def test_what_is_anothers_is_as_if_it_were_not_there_on_every_route(
    admin: Account, user_of_module: Account, other: Account, numbered: list[tuple[str, str, dict[str, Any]]]
) -> None:
    """A draft, its comments and its job: what is not there and what is not yours answer alike, and nothing changes."""
    draft = user_of_module.client.post("/posts", json={"title": "Mine alone", "body": "…"}).json()
    job = user_of_module.client.post(f"/posts/{draft['id']}/publish").json()["job_id"]
    draft = user_of_module.client.post("/posts", json={"title": "Mine alone", "body": "…"}).json()
    asked = 0
    for method, path, body in numbered:
        own = {"post_id": draft["id"], "job_id": job, "user_id": user_of_module.id, "key_id": 1}
        (name,) = re.findall(r"\{(\w+)\}", path)
        answers = [
            other.client.request(method, path.replace(f"{{{name}}}", str(number)), json=body or None)
            for number in (own[name], 2**62)
        ]
        # Of users and keys, which only admins have, nobody else learns anything.
        assert [answer.status_code for answer in answers] in ([404, 404], [403, 403]), (method, path)
        texts = [{**answer.json(), "request_id": None} for answer in answers]
        assert texts[0] == texts[1]
        asked += 1
    assert asked >= 10
    assert user_of_module.client.get(f"/posts/{draft['id']}").json() == draft


@pytest.fixture(scope="module")
def two_sessions(service: Service, user_of_module: Account) -> Iterator[str]:
    """A cursor of the user's own list of sessions."""
    second = service.log_in(user_of_module.email)
    page = user_of_module.client.get("/auth/sessions?limit=1").json()
    assert page["next_cursor"]
    yield page["next_cursor"]
    second.client.close()


def test_a_cursor_made_by_hand_or_for_another_list_is_refused(
    anyone: httpx2.Client, user_of_module: Account, admin: Account, two_sessions: str
) -> None:
    lists = ["/auth/sessions", "/users", "/api-keys", "/posts"]
    made = ["", "x", "A" * 3_000, two_sessions[:-1], two_sessions + "A", two_sessions + "=", two_sessions.swapcase()]
    made += ["eyJpZCI6MX0", "bnVsbA", "W10", "\u00fc", "%00", "../x", f"{two_sessions}&limit=100000"]
    for path in lists:
        foreign = [] if path == "/auth/sessions" else [two_sessions]
        for cursor in [*made, *foreign]:
            answer = admin.client.get(path, params={"cursor": cursor})
            check_envelope(answer, 422, "VALIDATION_ERROR")
    # Anybody's own cursor shows anybody their own things alone.
    stolen = admin.client.get("/auth/sessions", params={"cursor": two_sessions})
    own = {item["id"] for item in user_of_module.client.get("/auth/sessions?limit=100").json()["items"]}
    assert stolen.status_code == 200
    assert not own & {item["id"] for item in stolen.json()["items"]}
