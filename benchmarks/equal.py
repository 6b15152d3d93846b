"""That variants which are compared do the same, checked before they are timed."""

import json
import time
import urllib.error
import urllib.request
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path

from apps.accounts import EMAIL, OTHER_EMAIL, PASSWORD

# Of every answer of a whole stack; a limit's headers have one of these names.
HEADERS = {
    "x-request-id",
    "server-timing",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
}
LIMIT_HEADERS = {"x-ratelimit-remaining", "ratelimit-remaining"}
# What an answer has by one part alone.
PART_HEADERS = {
    "request_id": "x-request-id",
    "timing": "server-timing",
    "security_headers": "x-frame-options",
    "cors": "access-control-allow-origin",
    "rate_limit": "x-ratelimit-remaining",
}
ORIGIN = "https://app.example.com"


def answer(
    url: str, headers: dict[str, str] | None = None, data: bytes | None = None
) -> tuple[int, HTTPMessage, bytes]:
    request = urllib.request.Request(url, data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return found.status, found.headers, found.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def log_in(root: str, email: str = EMAIL) -> str:
    """An access token of an account, the admin's unless another is named."""
    form = f"username={email}&password={PASSWORD.replace(' ', '+')}".encode()
    status, _, body = answer(f"{root}/auth/login", {"Content-Type": "application/x-www-form-urlencoded"}, form)
    assert status == 200, body
    token: str = json.loads(body)["access_token"]
    return token


def check(root: str, path: str, group: str, log: Path) -> dict[str, str]:
    """Whether a variant does what its group does; the headers that its requests need."""
    url = root + path
    headers: dict[str, str] = {}
    if group == "auth":
        headers["Authorization"] = f"Bearer {log_in(root)}"
        assert answer(url)[0] == 401, "a request without a token passes"
        assert answer(url, {"Authorization": "Bearer a.b.c"})[0] == 401, "a made-up token passes"
        other = {"Authorization": f"Bearer {log_in(root, OTHER_EMAIL)}"}
        assert answer(url, other)[0] == 403, "a user without the role passes"
    status, sent, body = answer(url, headers)
    assert (status, json.loads(body).get("price")) == (200, 3.5), f"{status} {body!r}"
    if group == "headers":
        assert {name.lower() for name in sent} & LIMIT_HEADERS, "the server adds no headers"
    if group in {"stack", "auth"}:
        check_stack(url, headers, log)
    return headers


def check_part(root: str, path: str, part: str, log: Path) -> None:
    """Whether a part does what it is there for; `errors` shows in a crash alone."""
    before = lines(log)
    _, sent, _ = answer(root + path, {"Origin": ORIGIN})
    time.sleep(0.2)
    if part in PART_HEADERS:
        assert PART_HEADERS[part] in {name.lower() for name in sent}, f"{part} adds no header"
    assert lines(log) - before == (part == "access_log"), f"{lines(log) - before} lines for a request"
    if part == "body_limit":
        connection = HTTPConnection(root.removeprefix("http://"), timeout=30)
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", "2000000")
        connection.endheaders()
        assert connection.getresponse().status == 413, "a body has no bound"
        connection.close()


def check_limit(root: str, path: str, limit: int) -> None:
    """Whether so many requests are let in and no more; the one that found the server may have counted."""
    statuses = [answer(root + path)[0] for _ in range(limit + 1)]
    assert statuses[: limit - 1] == [200] * (limit - 1), statuses
    assert statuses[-1] == 429, statuses


def check_stack(url: str, headers: dict[str, str], log: Path) -> None:
    # Litestar has no line for it.
    assert answer(f"{url}/nothing", headers)[0] == 404
    time.sleep(0.2)
    before = lines(log)
    status, sent, _ = answer(url, {**headers, "X-Request-ID": "abc", "Origin": ORIGIN})
    names = {name.lower() for name in sent}
    assert status == 200
    assert sent["x-request-id"] == "abc", "the request's id is not kept"
    assert sent["access-control-allow-origin"] in {ORIGIN, "*"}, "the page may not read it"
    assert names >= HEADERS, f"missing: {HEADERS - names}"
    assert names & LIMIT_HEADERS, "no limit is told"
    for _ in range(20):
        answer(url, headers)
    # Lines may wait for each other for a moment.
    time.sleep(0.2)
    assert lines(log) - before == 21, f"{lines(log) - before} lines for 21 requests"


def lines(log: Path) -> int:
    """How many lines of requests there are."""
    loggers = (json.loads(line)["logger"] for line in log.read_text().splitlines())
    return sum(1 for logger in loggers if logger in {"hardpoint.access", "requests", "litestar"})
