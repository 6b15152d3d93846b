import json
import re

import httpx2
import pytest

from support.service import Account, check_envelope

ORIGIN = "https://app.example.com"
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def test_health_says_that_it_lives_and_that_it_is_ready(anyone: httpx2.Client) -> None:
    assert anyone.get("/health/live").json() == {"status": "ok"}
    ready = anyone.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["resources"]["database"] == {"status": "ok"}
    assert anyone.head("/health/ready").status_code == 200


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html"])
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "NOT_FOUND"),
        ("GET", "/users/me", 401, "INVALID_TOKEN"),
        ("DELETE", "/posts", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/posts?limit=0", 422, "VALIDATION_ERROR"),
        ("POST", "/auth/refresh", 422, "VALIDATION_ERROR"),
    ],
)
def test_every_error_has_the_envelope_and_every_header(
    anyone: httpx2.Client, method: str, path: str, status: int, code: str, accept: str
) -> None:
    answer = anyone.request(method, path, headers={"Origin": ORIGIN, "Accept": accept})
    check_envelope(answer, status, code)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    assert re.fullmatch(r"app;dur=\d+\.\d+", answer.headers["server-timing"])
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    assert "server" not in answer.headers
    if status == 405:
        assert "GET" in answer.headers["allow"]


def test_problem_details_are_given_to_who_asks(anyone: httpx2.Client) -> None:
    answer = anyone.get("/nothing", headers={"Accept": "application/problem+json"})
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["title"], body["status"], body["code"]) == ("about:blank", "Not Found", 404, "NOT_FOUND")
    assert body["request_id"] == answer.headers["x-request-id"]


def test_a_well_formed_request_id_is_kept_and_any_other_replaced(anyone: httpx2.Client) -> None:
    for good in ["abc", "A-1_b.C", "x" * 64]:
        assert anyone.get("/health/live", headers={"X-Request-ID": good}).headers["x-request-id"] == good
    for bad in ["x" * 65, "a b", "a;b", "<script>", "ü".encode()]:
        sent = anyone.get("/health/live", headers=[(b"X-Request-ID", bad if isinstance(bad, bytes) else bad.encode())])
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", sent.headers["x-request-id"])
        assert sent.headers["x-request-id"] != bad


def test_a_foreign_origin_gets_no_cors_headers(anyone: httpx2.Client) -> None:
    for origin in ["https://evil.example.com", "null", ORIGIN + ".evil.example.com", "http://app.example.com"]:
        answer = anyone.get("/posts", headers={"Origin": origin})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control-allow")]
        assert "Origin" in answer.headers["vary"]


def test_a_preflight_is_answered_for_an_allowed_origin_alone(anyone: httpx2.Client) -> None:
    asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type"}
    allowed = anyone.options("/posts/1", headers={"Origin": ORIGIN, **asked})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "PATCH" in allowed.headers["access-control-allow-methods"]
    assert "x-request-id" in allowed.headers
    refused = anyone.options("/posts/1", headers={"Origin": "https://evil.example.com", **asked})
    check_envelope(refused, 403, "FORBIDDEN")
    assert "access-control-allow-origin" not in refused.headers


BAD_JSON = {
    "not json": b"{",
    "nan": b'{"title": NaN, "body": "b"}',
    "infinity": b'{"title": -Infinity, "body": "b"}',
    "overflow": b'{"title": 1e999, "body": "b"}',
    "lone surrogate": b'{"title": "\\ud800", "body": "b"}',
    "lone surrogate in a key": b'{"\\udfff": "t", "title": "t", "body": "b"}',
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 5_000 + b"]" * 5_000,
    "huge integer": b'{"title": ' + b"9" * 5_000 + b', "body": "b"}',
    "latin-1": '{"title": "é", "body": "b"}'.encode("latin-1"),
    "utf-16": '{"title": "t", "body": "b"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"title": "t", "body": "b"}',
    "trailing": b'{"title": "t", "body": "b"} x',
    "empty": b"",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "a string": b'"text"',
    "nul in a string": b'{"title": "a\\u0000b", "body": "b"}',
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_a_422(user_of_module: Account, name: str) -> None:
    answer = user_of_module.client.post("/posts", content=BAD_JSON[name], headers={"Content-Type": "application/json"})
    check_envelope(answer, 422, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "multipart/form-data",
        "x",
    ],
)
def test_another_media_type_is_a_415(user_of_module: Account, content_type: str) -> None:
    body = b'{"title": "t", "body": "b"}'
    answer = user_of_module.client.post("/posts", content=body, headers={"Content-Type": content_type})
    check_envelope(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


def test_no_input_is_repeated_in_an_error(user_of_module: Account) -> None:
    canary = "canary-5f1e0a"
    for body in [
        {"title": canary, "password": canary},
        {"title": [canary], "body": {"x": canary}},
        {"title": 7, "body": canary},
        {"email": canary, "password": canary},
    ]:
        for path in ["/posts", "/auth/register", "/auth/refresh", "/auth/forgot-password"]:
            assert canary not in user_of_module.client.post(path, json=body).text


def test_a_body_over_the_limit_is_refused(anyone: httpx2.Client) -> None:
    large = json.dumps({"refresh_token": "x" * 1_100_000}).encode()
    headers = {"Content-Type": "application/json", "Origin": ORIGIN}
    announced = anyone.post("/auth/refresh", content=large, headers=headers)
    check_envelope(announced, 413, "PAYLOAD_TOO_LARGE")
    assert announced.headers["access-control-allow-origin"] == ORIGIN
    parts = (large[place : place + 65_536] for place in range(0, len(large), 65_536))
    chunked = anyone.post("/auth/refresh", content=parts, headers=headers)
    check_envelope(chunked, 413, "PAYLOAD_TOO_LARGE")


def test_limited_routes_say_what_is_left(anyone: httpx2.Client) -> None:
    answer = anyone.get("/posts")
    assert answer.headers["x-ratelimit-limit"] == "1000000"
    assert int(answer.headers["x-ratelimit-remaining"]) < 1_000_000
    assert "x-ratelimit-reset" in answer.headers
    assert answer.headers["ratelimit-policy"] == '"default";q=1000000;w=60'
    assert re.fullmatch(r'"default";r=\d+;t=\d+', answer.headers["ratelimit"])
    assert "retry-after" not in answer.headers
    assert "x-ratelimit-limit" not in anyone.get("/health/live").headers


def test_answers_to_credentials_are_not_stored(user_of_module: Account) -> None:
    assert user_of_module.client.get("/users/me").headers["cache-control"] == "no-store"
