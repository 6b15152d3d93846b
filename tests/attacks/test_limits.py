"""Attacks on the limits: to be counted as somebody else, as somebody new, or not at all."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from support.service import Service

LIMIT = 4
SETTINGS = {"rate_limit": f"{LIMIT}/hour", "trusted_proxies": "127.0.0.1,10.0.0.0/8", "login_rate_limit": "2/hour"}

_numbers = count(1)
Headers = list[tuple[Any, Any]]


@pytest.fixture
def address() -> str:
    """Of a client that nobody has seen, as our own proxy tells it."""
    return f"198.51.100.{next(_numbers)}"


@pytest.fixture
def ask(service: Service) -> Iterator[Callable[..., httpx2.Response]]:
    with service.client() as client:

        def send(headers: Headers, method: str = "GET", path: str = "/posts", **more: Any) -> httpx2.Response:
            return client.request(method, path, headers=headers, **more)

        yield send


def assert_are_one_client(ask: Callable[..., httpx2.Response], requests: list[dict[str, Any]]) -> None:
    """However they look: as many as the limit allows are let in, and no more."""
    assert len(requests) > LIMIT
    answers = [ask(**request) for request in requests]
    assert [answer.status_code == 429 for answer in answers] == [False] * LIMIT + [True] * (len(answers) - LIMIT)
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers[:LIMIT]] == ["3", "2", "1", "0"]


SPOOFED = [
    ["1.1.1.{n}, {me}"],
    ["1.1.1.{n},{me}"],
    ["1.1.1.{n} ,\t{me}"],
    ["1.1.1.{n}", "{me}"],
    ["1.1.1.{n}, 2.2.2.2", "3.3.3.3", "{me}"],
    ["1.1.1.{n}, {me}:4{n}"],
    ["1.1.1.{n}, {me}, 10.1.2.3"],
    ["1.1.1.{n}, {me}", "10.1.2.3, 10.9.9.{n}"],
    ["1.1.1.{n}, {me}, 127.0.0.1"],
    ["1.1.1.{n}, ::ffff:{me}"],
    ["1.1.1.{n}, [::ffff:{me}]:80"],
    ["1.1.1.{n},,, ,{me},"],
    ["unknown{n}, {me}"],
    ["_hidden{n}, {me}"],
    ['lol{n}"<x>, {me}'],
    ["10.0.0.{n}, {me}"],
    ["127.0.0.1, 127.0.0.{n}, {me}"],
    ["::{n}, {me}"],
]


@pytest.mark.parametrize("lines", SPOOFED, ids=range(len(SPOOFED)))
def test_what_a_client_writes_left_of_its_address_does_not_count(
    ask: Callable[..., httpx2.Response], address: str, lines: list[str]
) -> None:
    requests = [
        {"headers": [("X-Forwarded-For", line.format(n=number, me=address)) for line in lines]}
        for number in range(1, 8)
    ]
    assert_are_one_client(ask, requests)


@pytest.mark.parametrize("spelling", ["X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR", "x-FoRwArDeD-fOr"])
def test_a_header_is_one_however_it_is_spelt(ask: Callable[..., httpx2.Response], address: str, spelling: str) -> None:
    requests: list[dict[str, Any]] = [
        {"headers": [(spelling, f"1.1.1.{number}"), ("X-Forwarded-For", address)]} for number in range(6)
    ]
    assert_are_one_client(ask, requests)


OTHERS = [
    "X-Real-IP",
    "Forwarded",
    "X-Forwarded",
    "Forwarded-For",
    "X-Forwarded-For-Original",
    "X_Forwarded_For",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-Forwarded-For",
    "CF-Connecting-IP",
    "True-Client-IP",
    "Fastly-Client-IP",
    "X-Remote-IP",
    "X-Remote-Addr",
    "Client-IP",
    "Via",
    "X-ProxyUser-IP",
    "X-Forwarded-Host",
    "X-Host",
]


def test_no_other_header_says_who_the_client_is(ask: Callable[..., httpx2.Response], address: str) -> None:
    requests: list[dict[str, Any]] = [
        {"headers": [("X-Forwarded-For", address), (name, f"for=1.1.1.{number}" if name == "Forwarded" else "1.1.1.1")]}
        for number, name in enumerate(OTHERS)
    ]
    assert_are_one_client(ask, requests)


def test_the_addresses_of_one_customers_network_are_one_client(ask: Callable[..., httpx2.Response]) -> None:
    hosts = ["::1", "::2", "ffff:ffff:ffff:ffff", "1:2:3:4", "0:0:0:5", "::6%eth0", "::7%1"]
    network = f"2001:db8:{next(_numbers):x}:7"
    forms = [f"{network}:{host}" if not host.startswith("::") else network + host for host in hosts]
    forms += [f"[{network}::8]:99", f"{network.upper()}::9", f"2001:0db8:{network.split(':')[2]}:0007::a"]
    assert_are_one_client(ask, [{"headers": [("X-Forwarded-For", form)]} for form in forms])
    assert ask([("X-Forwarded-For", network.removesuffix("7") + "8::1")]).status_code == 200


def test_an_ipv4_address_in_the_clothes_of_ipv6_is_the_same_client(ask: Callable[..., httpx2.Response]) -> None:
    number = next(_numbers)
    forms = [
        f"192.0.2.{number}",
        f"::ffff:192.0.2.{number}",
        f"::FFFF:c000:2{number:02x}",
        f"0:0:0:0:0:ffff:192.0.2.{number}",
        f"2002:c000:2{number:02x}::1",
        f"2002:c000:2{number:02x}:9::1",
        f"64:ff9b::192.0.2.{number}",
    ]
    assert_are_one_client(ask, [{"headers": [("X-Forwarded-For", form)]} for form in forms])


NO_ADDRESSES = [
    "",
    ",",
    "lol",
    '"',
    "1.2.3",
    "1.2.3.4.5",
    "999.1.1.1",
    "1.2.3.4/8",
    "0x7f.1",
    "::1::",
    "x" * 9_000,
    "\xe9",
]


def test_a_proxy_that_tells_no_address_is_the_client_itself(ask: Callable[..., httpx2.Response]) -> None:
    answers = [ask([(b"X-Forwarded-For", text.encode("latin-1"))]) for text in NO_ADDRESSES]
    assert {answer.status_code for answer in answers[LIMIT:]} == {429}
    assert ask([]).status_code == 429


TARGETS = [
    ("GET", "/posts"),
    ("HEAD", "/posts"),
    ("GET", "//posts"),
    ("GET", "/posts/"),
    ("GET", "/%70osts"),
    ("GET", "/POSTS"),
    ("GET", "/posts?limit=1&limit=2"),
    ("GET", "/./posts"),
    ("GET", "/health/live/../../posts"),
    ("GET", "/health/live/"),
    ("GET", "//health/live"),
    ("GET", "/health/%6Cive/"),
    ("GET", "/health/live;x"),
    ("GET", "/nowhere"),
    ("OPTIONS", "/posts"),
    ("PROPFIND", "/posts"),
    ("get", "/posts"),
    ("TRACE", "/"),
    ("DELETE", "/posts/1"),
]


@pytest.mark.parametrize("begin", range(0, len(TARGETS), 4))
def test_every_path_and_method_costs_one(ask: Callable[..., httpx2.Response], address: str, begin: int) -> None:
    requests: list[dict[str, Any]] = [
        {"headers": [("X-Forwarded-For", address)], "method": method, "path": path}
        for method, path in (TARGETS[begin:] + TARGETS)[:8]
    ]
    assert_are_one_client(ask, requests)


def test_tokens_and_keys_make_nobody_else_of_a_client(ask: Callable[..., httpx2.Response], address: str) -> None:
    credentials: list[Headers] = [
        [],
        [("Authorization", "Bearer aaaa.bbbb.cccc")],
        [("X-API-Key", "hp_1_secret")],
        [("X-API-Key", "hp_2_secret"), ("Authorization", "Bearer x")],
        [("Cookie", "session=1")],
        [("User-Agent", "another")],
        [("Host", "another.example.com")],
    ]
    assert_are_one_client(ask, [{"headers": [("X-Forwarded-For", address), *more]} for more in credentials])


def test_preflights_and_health_checks_cost_nothing(ask: Callable[..., httpx2.Response], address: str) -> None:
    me = [("X-Forwarded-For", address)]
    asks = [("Origin", "https://app.example.com"), ("Access-Control-Request-Method", "POST")]
    for _ in range(LIMIT + 2):
        assert ask([*me, *asks], "OPTIONS").status_code == 204
        for path in ("/health/live", "/health/ready"):
            answer = ask(me, path=path)
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers
    assert ask(me).headers["x-ratelimit-remaining"] == "3"


def test_opening_sockets_costs_as_much_as_requests(
    service: Service, ask: Callable[..., httpx2.Response], address: str
) -> None:
    url = service.url.replace("http", "ws") + "/ws"
    me = {"X-Forwarded-For": address}
    for _ in range(LIMIT):
        with connect(url, additional_headers=me):
            pass
    with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=me):
        pass
    assert refused.value.response.status_code == 429
    assert int(refused.value.response.headers["Retry-After"]) > 0
    assert ask([("X-Forwarded-For", address)]).status_code == 429


def test_failed_logins_are_counted_for_the_account_from_wherever_they_come(
    ask: Callable[..., httpx2.Response], address: str
) -> None:
    spellings = ["victim@example.com", "VICTIM@example.com", "Victim@Example.com", "\uff56ictim@example.com"]
    answers = [
        ask(
            [("X-Forwarded-For", f"203.0.113.{next(_numbers)}")],
            "POST",
            "/auth/login",
            data={"username": spelling, "password": "wrong"},
        )
        for spelling in spellings
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 429, 429]
    assert answers[-1].headers["ratelimit-policy"].startswith('"login";q=2')
