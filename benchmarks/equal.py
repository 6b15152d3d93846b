"""That variants which are compared do the same, checked before they are timed."""

import json
import time
import urllib.error
import urllib.request
from http.client import HTTPMessage
from pathlib import Path

from apps.accounts import EMAIL, PASSWORD

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


def log_in(root: str) -> str:
    """An access token of the account that every variant with accounts has."""
    form = f"username={EMAIL}&password={PASSWORD.replace(' ', '+')}".encode()
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
    status, _, body = answer(url, headers)
    assert (status, json.loads(body).get("price")) == (200, 3.5), f"{status} {body!r}"
    if group in {"stack", "auth"}:
        check_stack(url, headers, log)
    return headers


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
