"""Guessing, stuffing and odd logins (section 3.3): one answer for every failure, a limit, and nobody locked out."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from threading import Event
from time import sleep
from typing import Any

import httpx2
import pytest

from attacks.conftest import BOTH, SECRET_KEY, rows
from support.service import PASSWORD, Account, Service, check_envelope

DATABASES = BOTH
CODE = "VALIDATION_ERROR"
BURST = 20
# Many more attempts than the burst, and than what flows back while they are made.
MANY = 60
_last_bytes = count(2)


def log_in(client: httpx2.Client, address: str, password: str = PASSWORD, **options: Any) -> httpx2.Response:
    return client.post("/auth/login", data={"username": address, "password": password}, **options)


def visible(answer: httpx2.Response) -> dict[str, Any]:
    """All of an answer that could tell accounts apart."""
    changing = {"date", "x-request-id", "server-timing"}
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in changing and not name.startswith(("x-ratelimit", "ratelimit"))
    }
    body = {**answer.json(), "request_id": None} if answer.content else None
    return {"status": answer.status_code, "headers": headers, "body": body}


def test_every_failed_login_looks_the_same(
    service: Service, anyone: httpx2.Client, admin: Account, new_account: Callable[[], Account]
) -> None:
    disabled = new_account()
    assert admin.client.patch(f"/users/{disabled.id}", json={"is_active": False}).status_code == 200
    answers = [log_in(anyone, admin.email, "not the right password"), log_in(anyone, disabled.email)]
    # An account without a password, and hashes that cannot be read.
    for stored in [None, "", "!", "garbage", "$argon2id$v=19$m=19456,t=2,p=1$", "$2b$12$abc", "\x00"]:
        account = new_account()
        if stored == "\x00" and "database_url" in service.settings:
            continue  # PostgreSQL's text cannot hold it.
        with rows(service) as database:
            database.execute("UPDATE users SET password_hash = ? WHERE id = ?", (stored, account.id))
        answers.append(log_in(anyone, account.email))
    strangers = [
        "nobody@example.com",
        "nobody",
        "@",
        "' OR 1=1 --",
        admin.email + " ",
        admin.email + "\x00",
        admin.email + "\n",
        "%",
        "_" * 320,
        "\ufdfa" * 320,
        "\U0010ffff",
        "{}",
        "*",
        "${jndi:ldap://127.0.0.1/x}",
    ]
    answers += [log_in(anyone, stranger) for stranger in strangers]
    for answer in answers:
        check_envelope(answer, 401, "INVALID_CREDENTIALS")
        assert visible(answer) == visible(answers[0])


@pytest.mark.parametrize("route", ["/auth/register", "/auth/forgot-password"])
def test_a_known_address_looks_like_an_unknown_one(
    service: Service, anyone: httpx2.Client, user: Account, route: str
) -> None:
    more = {"password": "another plain long password"} if route == "/auth/register" else {}
    known = anyone.post(route, json={"email": user.email, **more})
    unknown = anyone.post(route, json={"email": service.new_address(), **more})
    assert known.status_code == 202
    assert visible(known) == visible(unknown)
    # Nor was anything changed by it.
    check_envelope(log_in(anyone, user.email, "another plain long password"), 401, "INVALID_CREDENTIALS")
    assert log_in(anyone, user.email).status_code == 200


def field(name: str, value: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
CANARY = b"canary-4711"


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", b'{"username": "canary-4711", "password": "canary-4711"}', 422, "VALIDATION_ERROR"),
        ("text/plain", b"username=canary-4711&password=canary-4711", 422, "VALIDATION_ERROR"),
        (FORM, b"", 422, "VALIDATION_ERROR"),
        (FORM, b"username=canary-4711", 422, "VALIDATION_ERROR"),
        (FORM, b"username=canary-4711&password=", 422, "VALIDATION_ERROR"),
        (FORM, b"username=&password=canary-4711", 422, "VALIDATION_ERROR"),
        (FORM, b"username[]=canary-4711&password[]=canary-4711", 422, "VALIDATION_ERROR"),
        (FORM, b"username=canary-4711&password[$ne]=canary-4711", 422, "VALIDATION_ERROR"),
        (FORM, b"username=canary-4711&password=canary-4711&role=admin", 422, "VALIDATION_ERROR"),
        (FORM, b"username=canary-4711&password=canary-4711&grant_type=refresh_token", 422, "VALIDATION_ERROR"),
        (FORM, b"username=canary-4711&password=%ff%fe%ed%a0%80", 401, "INVALID_CREDENTIALS"),
        (FORM, b"username=canary-4711&password=%00", 401, "INVALID_CREDENTIALS"),
        (FORM, b"username=canary-4711&password=%", 401, "INVALID_CREDENTIALS"),
        (FORM, b"username=canary-4711;password=canary-4711", 422, "VALIDATION_ERROR"),
        (FORM, b"username=" + b"canary-4711" * 30 + b"&password=x", 422, "VALIDATION_ERROR"),
        (FORM, b"username=x&password=" + b"canary-4711" * 100, 422, "VALIDATION_ERROR"),
        ("multipart/form-data", b"--b", 400, "BAD_REQUEST"),
        ("multipart/form-data; boundary=", b"--b", 400, "BAD_REQUEST"),
        (MULTIPART, b"canary-4711", 400, "BAD_REQUEST"),
        (MULTIPART, b"--b--\r\n", 422, "VALIDATION_ERROR"),
        (
            MULTIPART,
            field("username", CANARY) + field("password", CANARY, '; filename="canary-4711"') + b"--b--\r\n",
            422,
            "VALIDATION_ERROR",
        ),
        (
            MULTIPART + "; charset=undefined",
            field("username", CANARY) + field("password", CANARY) + b"--b--\r\n",
            400,
            "BAD_REQUEST",
        ),
        (
            MULTIPART + "; charset=unicode_escape",
            field("username", b"\\ud800") + field("password", CANARY) + b"--b--\r\n",
            422,
            "VALIDATION_ERROR",
        ),
        (
            MULTIPART + "; charset=unicode_escape",
            field("username", CANARY) + field("password", b"\\ud800") + b"--b--\r\n",
            422,
            "VALIDATION_ERROR",
        ),
        (
            MULTIPART + "; charset=utf-7",
            field("username", b"+2AA-") + field("password", b"+2AA-") + b"--b--\r\n",
            422,
            "VALIDATION_ERROR",
        ),
        (
            MULTIPART + "; charset=zlib_codec",
            field("username", CANARY) + field("password", CANARY) + b"--b--\r\n",
            401,
            "INVALID_CREDENTIALS",
        ),
    ],
)
def test_an_odd_login_form_is_an_error_that_repeats_nothing(
    anyone: httpx2.Client, content_type: str, body: bytes, status: int, code: str
) -> None:
    answer = anyone.post("/auth/login", content=body, headers={"Content-Type": content_type})
    check_envelope(answer, status, code)
    assert "canary-4711" not in answer.text


def test_of_two_passwords_in_a_form_no_wrong_one_helps(anyone: httpx2.Client, user_of_module: Account) -> None:
    for passwords in [["wrong", "wrong too"], [PASSWORD, "wrong"]]:
        answer = anyone.post("/auth/login", data={"username": user_of_module.email, "password": passwords})
        check_envelope(answer, 401, "INVALID_CREDENTIALS")


@pytest.mark.parametrize("size", [1_025, 100_000, 1_000_000])
def test_a_huge_password_is_a_422_everywhere_and_the_service_lives(
    service: Service, anyone: httpx2.Client, user_of_module: Account, size: int
) -> None:
    huge = "p" * size
    stop = Event()

    def look() -> set[int]:
        with service.client() as client:
            seen = {client.get("/health/live").status_code}
            while not stop.is_set():
                seen.add(client.get("/health/live").status_code)
            return seen

    with ThreadPoolExecutor(1) as pool:
        health = pool.submit(look)
        try:
            answers = {
                "password": [
                    log_in(anyone, user_of_module.email, huge),
                    anyone.post("/auth/register", json={"email": service.new_address(), "password": huge}),
                    anyone.post("/auth/reset-password", json={"token": "x", "password": huge}),
                    user_of_module.client.patch("/users/me", json={"password": huge, "current_password": PASSWORD}),
                ],
                "current_password": [
                    user_of_module.client.patch("/users/me", json={"password": PASSWORD, "current_password": huge})
                ],
            }
        finally:
            stop.set()
        assert health.result() == {200}
    for name, refused in answers.items():
        for answer in refused:
            body = check_envelope(answer, 422, "VALIDATION_ERROR")
            assert [error["field"] for error in body["field_errors"]] == [name]
            assert "p" * 20 not in answer.text


def count_of(service: Service, condition: str, value: str) -> int:
    with rows(service) as database:
        return int(database.one(f"SELECT count(*) FROM users WHERE {condition} = ?", value))  # noqa: S608


def test_a_domain_is_one_however_it_is_written(service: Service, anyone: httpx2.Client) -> None:
    spellings = ["ann@b\u00fccher.example.com", "ann@xn--bcher-kva.example.com", "ANN@B\u00dcCHER.EXAMPLE.COM"]
    spellings += ["ann@bu\u0308cher.example.com", "ann@b\u00fccher\u3002example\uff0ecom"]
    for number, spelling in enumerate(spellings):
        body = {"email": spelling, "password": f"{PASSWORD} {number}"}
        assert anyone.post("/auth/register", json=body).status_code == 202
    assert count_of(service, "email_key", "ann@xn--bcher-kva.example.com") == 1
    for spelling in spellings:
        assert log_in(anyone, spelling, f"{PASSWORD} 0").status_code == 200
    # Two domains that look much the same may be two people's.
    for other in ("ann@bucher.example.com", "ann@b\u0443cher.example.com"):
        check_envelope(log_in(anyone, other, f"{PASSWORD} 0"), 401, "INVALID_CREDENTIALS")


def test_a_lookalike_is_somebody_else_and_gets_nothing_of_the_owners(
    service: Service, anyone: httpx2.Client, user: Account
) -> None:
    local, _, domain = user.email.partition("@")
    lookalikes = [
        f"{local.replace('e', chr(0x435))}@{domain}",  # Cyrillic.
        f"{local.replace('u', chr(0x3C5))}@{domain}",  # Greek.
        f"{local}@{domain.replace('a', chr(0x430))}",
        f"{local}@{domain}.example.com",
    ]
    for lookalike in lookalikes:
        assert anyone.post("/auth/forgot-password", json={"email": lookalike}).status_code == 202
        body = {"email": lookalike, "password": "the thief's own long password"}
        assert anyone.post("/auth/register", json=body).status_code == 202
        check_envelope(log_in(anyone, user.email, "the thief's own long password"), 401, "INVALID_CREDENTIALS")
        assert count_of(service, "email", lookalike) == 1
    # Nothing was mailed to the owner but their own welcome.
    assert len(service.mails(user.email)) == 1


def test_dotted_and_dotless_letters_are_told_apart(service: Service, anyone: httpx2.Client) -> None:
    """In Turkish, one is the other's capital."""
    number = service.new_address().partition("@")[0]
    for letter in ("i", "I", "\u0131", "\u0130", "i\u0307"):
        body = {"email": f"{number}{letter}@example.com", "password": PASSWORD}
        assert anyone.post("/auth/register", json=body).status_code == 202
    counts = [count_of(service, "email_key", f"{number}{key}@example.com") for key in ("i", "\u0131", "i\u0307")]
    assert counts == [1, 1, 1]


@pytest.mark.parametrize("letter", ["\ufdfa", "\ufb03", "\u0390", "\u1f52"])
def test_an_address_that_grows_when_it_is_folded_is_no_error_of_ours(anyone: httpx2.Client, letter: str) -> None:
    for length in (1, 17, 18, 21, 32, 64):
        address = f"{letter * length}@example.com"
        answer = anyone.post("/auth/register", json={"email": address, "password": PASSWORD})
        assert answer.status_code in {202, 422}
        assert log_in(anyone, address).status_code in {200, 401, 422}
        assert anyone.post("/auth/forgot-password", json={"email": address}).status_code in {202, 422}


def test_no_password_is_the_users_own_address(service: Service, anyone: httpx2.Client, user: Account) -> None:
    """However it is set: by a registration, a change, a mail, which does not say whose it is."""
    address = service.new_address()
    for own in (address, address.upper(), address * 2):
        body = check_envelope(anyone.post("/auth/register", json={"email": address, "password": own}), 422, CODE)
        assert [error["code"] for error in body["field_errors"]] == ["password_too_common"]
    assert anyone.post("/auth/forgot-password", json={"email": user.email}).status_code == 202
    token = service.token_in_mail(user.email, 2)
    answers = [
        anyone.post("/auth/reset-password", json={"token": token, "password": user.email}),
        user.client.patch("/users/me", json={"password": user.email, "current_password": PASSWORD}),
    ]
    for answer in answers:
        body = check_envelope(answer, 422, CODE)
        assert [error["code"] for error in body["field_errors"]] == ["password_too_common"]
    assert log_in(anyone, user.email).status_code == 200


def test_a_new_password_makes_the_mails_of_before_worthless(
    service: Service, anyone: httpx2.Client, user: Account
) -> None:
    """Whoever read one of them, or waits for one, does not get in with it."""
    tokens = []
    for number in (2, 3):
        assert anyone.post("/auth/forgot-password", json={"email": user.email}).status_code == 202
        tokens.append(service.token_in_mail(user.email, number))
    new = {"password": "a completely new password", "current_password": PASSWORD}
    assert user.client.patch("/users/me", json=new).status_code == 200
    for token in tokens:
        body = {"token": token, "password": "the thief's own long password"}
        check_envelope(anyone.post("/auth/reset-password", json=body), 422, CODE)
    assert log_in(anyone, user.email, new["password"]).status_code == 200


def test_a_password_over_the_body_limit_is_a_413(anyone: httpx2.Client) -> None:
    check_envelope(log_in(anyone, "a@example.com", "p" * 1_100_000), 413, "PAYLOAD_TOO_LARGE")


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that counts failed logins."""
    settings = {
        "environment": "test",
        "secret_key": SECRET_KEY,
        "rate_limit": "1000000/minute",
        "login_rate_limit": f"{BURST}/minute",
        "email_verification": "optional",
    }
    with Service.started(tmp_path_factory.mktemp("limited"), **settings) as running:
        yield running


@contextmanager
def from_a_new_address(service: Service) -> Iterator[httpx2.Client]:
    """A client at a loopback address that nobody has used."""
    number = next(_last_bytes)
    transport = httpx2.HTTPTransport(local_address=f"127.0.{number // 250 + 1}.{number % 250 + 2}")
    with httpx2.Client(base_url=service.url, transport=transport, timeout=30) as client:
        yield client


def sign_up(service: Service) -> Account:
    with from_a_new_address(service) as client:
        address = service.new_address()
        answer = client.post("/auth/register", json={"email": address, "password": PASSWORD})
        assert answer.status_code == 202
        tokens = log_in(client, address).json()
    own = service.client(headers={"Authorization": f"Bearer {tokens['access_token']}"})
    return Account(0, address, tokens["access_token"], tokens["refresh_token"], own)


def check_limited(answer: httpx2.Response) -> int:
    """The seconds after which to try again."""
    check_envelope(answer, 429, "RATE_LIMITED")
    assert answer.headers["ratelimit-policy"] == f'"login";q={BURST};w=60'
    seconds = int(answer.headers["retry-after"])
    assert seconds >= 1
    return seconds


def until_limited(attempt: Callable[[int], httpx2.Response]) -> httpx2.Response:
    """The first 429; the whole burst is answered before it."""
    for number in range(MANY):
        answer = attempt(number)
        if answer.status_code == 429:
            assert number >= BURST
            return answer
        check_envelope(answer, 401, "INVALID_CREDENTIALS")
    raise AssertionError(f"{MANY} attempts were answered and none was refused")


def check_alive(service: Service) -> None:
    with service.client() as client:
        assert client.get("/health/live").status_code == 200


def test_stuffing_from_one_address_is_limited_and_others_are_not(limited: Service) -> None:
    victim = sign_up(limited)
    with closing(victim.client), from_a_new_address(limited) as thief, from_a_new_address(limited) as home:
        check_limited(until_limited(lambda number: log_in(thief, f"somebody{number}@example.com")))
        # Not even with the right password, of whichever account; and it looks the same for all of them.
        known, unknown = log_in(thief, victim.email), log_in(thief, "nobody@example.com")
        for answer in [known, unknown]:
            check_limited(answer)
        assert {**known.json(), "request_id": None} == {**unknown.json(), "request_id": None}
        assert log_in(home, victim.email).status_code == 200
        # Whoever has a session keeps it.
        assert victim.client.get("/users/me").status_code == 200
    check_alive(limited)


def test_guessing_one_account_from_many_addresses_is_limited_and_its_owner_not_locked_out(limited: Service) -> None:
    victim, neighbour = sign_up(limited), sign_up(limited)
    # However the address is spelt, it is one account.
    local, _, domain = victim.email.partition("@")
    wide = chr(ord(local[0]) - 0x61 + 0xFF41) + local[1:]
    spellings = [victim.email, victim.email.upper(), f"{local.title()}@{domain}", f"{wide}@{domain}"]

    def attempt(number: int) -> httpx2.Response:
        with from_a_new_address(limited) as thief:
            return log_in(thief, spellings[number % len(spellings)], f"wrong password {number}")

    with closing(victim.client), closing(neighbour.client), from_a_new_address(limited) as home:
        check_limited(until_limited(attempt))
        assert log_in(home, neighbour.email).status_code == 200
        assert victim.client.get("/users/me").status_code == 200
        # The owner waits as long as they are told, once or a few times, and is in: no lock is for ever.
        for _ in range(3):
            answer = log_in(home, victim.email)
            if answer.status_code == 200:
                break
            sleep(check_limited(answer))
        assert answer.status_code == 200
        # And a success makes the account's failures forgotten.
        check_envelope(log_in(home, victim.email, "wrong"), 401, "INVALID_CREDENTIALS")
        assert log_in(home, victim.email).status_code == 200
    check_alive(limited)


def test_a_thief_with_an_account_does_not_begin_anew_by_logging_in(limited: Service) -> None:
    own = sign_up(limited)

    def attempt(number: int) -> httpx2.Response:
        answer = log_in(thief, own.email)
        if answer.status_code == 429:
            return answer
        assert answer.status_code == 200
        return log_in(thief, f"somebody-else{number}@example.com")

    with closing(own.client), from_a_new_address(limited) as thief:
        answers = [attempt(number) for number in range(MANY)]
    assert [answer.status_code for answer in answers[:BURST]] == [401] * BURST
    assert 429 in {answer.status_code for answer in answers}
    check_alive(limited)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP"])
def test_a_header_does_not_make_another_client(limited: Service, header: str) -> None:
    with from_a_new_address(limited) as thief:

        def attempt(number: int) -> httpx2.Response:
            value = f"for=203.0.113.{number}" if header == "Forwarded" else f"203.0.113.{number}"
            return log_in(thief, f"spoofed{number}@example.com", headers={header: value})

        check_limited(until_limited(attempt))
    check_alive(limited)


def test_many_attempts_at_once_are_no_way_around_the_limit(limited: Service) -> None:
    victim = sign_up(limited)
    with closing(victim.client), from_a_new_address(limited) as thief, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: log_in(thief, victim.email, f"guess {number}"), range(MANY)))
    tried = [answer for answer in answers if answer.status_code == 401]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(tried) + len(refused) == MANY
    assert BURST <= len(tried) < MANY
    for answer in refused:
        check_limited(answer)
    check_alive(limited)


def test_guessing_the_current_password_is_limited_too(limited: Service) -> None:
    victim = sign_up(limited)
    with closing(victim.client), from_a_new_address(limited) as thief:
        headers = {"Authorization": f"Bearer {victim.access_token}"}
        for number in range(MANY):
            body = {"password": "a completely new password", "current_password": f"guess {number}"}
            answer = thief.patch("/users/me", json=body, headers=headers)
            if answer.status_code == 429:
                break
            check_envelope(answer, 422, "VALIDATION_ERROR")
        check_limited(answer)
    check_alive(limited)
