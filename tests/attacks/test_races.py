"""Things done twice at once, and things undone while they are done: exactly one wins, and nothing survives its end."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier, Event
from typing import Any, TypeVar

import httpx2
import pytest

from attacks.conftest import BOTH, rows
from support.live import live
from support.service import PASSWORD, Account, Service, check_envelope

T = TypeVar("T")
DATABASES = BOTH
NEW = "a completely new password"
THIEFS = "the thief's own long password"


def at_once(*calls: Callable[[], T]) -> list[T]:
    """What each gives when all of them begin together."""
    start = Barrier(len(calls))

    def call(function: Callable[[], T]) -> T:
        start.wait(30)
        return function()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def statuses(answers: list[httpx2.Response]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


def log_in(client: httpx2.Client, address: str, password: str = PASSWORD) -> httpx2.Response:
    return client.post("/auth/login", data={"username": address, "password": password})


def who_is(client: httpx2.Client, access_token: str) -> httpx2.Response:
    return client.get("/users/me", headers={"Authorization": f"Bearer {access_token}"})


def reset_token(service: Service, client: httpx2.Client, address: str, number: int = 2) -> str:
    assert client.post("/auth/forgot-password", json={"email": address}).status_code == 202
    return service.token_in_mail(address, number)


def test_twenty_registrations_of_one_address_make_one_account(service: Service, anyone: httpx2.Client) -> None:
    address = service.new_address()
    local, _, domain = address.partition("@")
    spellings = [
        address,
        address.upper(),
        f"{local.title()}@{domain}",
        f"{chr(ord(local[0]) + 0xFEE0)}{local[1:]}@{domain}",
    ]

    def register(number: int) -> httpx2.Response:
        body = {"email": spellings[number % len(spellings)], "password": PASSWORD, "name": f"Number {number}"}
        return anyone.post("/auth/register", json=body)

    answers = at_once(*(lambda number=number: register(number) for number in range(20)))
    assert statuses(answers) == [202] * 20
    with rows(service) as database:
        assert database.one("SELECT count(*) FROM users WHERE email_key = ?", address) == 1
        winner = database.one("SELECT email FROM users WHERE email_key = ?", address)
    assert log_in(anyone, address).status_code == 200
    # Its owner is welcomed once, and told of five others: nobody's box is filled by strangers.
    until_all_is_mailed(service)
    subjects = [mail["Subject"] for mail in service.mails(winner)]
    assert sorted("Welcome" in subject for subject in subjects) == [False] * 5 + [True]


def test_forgetting_many_times_at_once_fills_nobodys_box(
    service: Service, anyone: httpx2.Client, user: Account
) -> None:
    body = {"email": user.email}
    answers = at_once(*(lambda: anyone.post("/auth/forgot-password", json=body) for _ in range(12)))
    assert statuses(answers) == [202] * 12
    # The answers come before the work, so that their time tells nothing.
    assert service.mail(user.email, 6)
    deadline = time.monotonic() + 60
    while sum(event["event"] == "mail_withheld" and event["user_id"] == user.id for event in service.events) < 7:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    until_all_is_mailed(service)
    assert len(service.mails(user.email)) == 6
    # Each of the five is good, until one of them was used.
    tokens = [service.token_in_mail(user.email, number) for number in range(2, 7)]
    assert len(set(tokens)) == 5
    for token, status in [(tokens[3], 204), (tokens[0], 422)]:
        answer = anyone.post("/auth/reset-password", json={"token": token, "password": NEW})
        assert answer.status_code == status


def until_all_is_mailed(service: Service) -> None:
    """Another registration's mail is written after all that is written by then."""
    address = service.new_address()
    with service.client() as client:
        assert client.post("/auth/register", json={"email": address, "password": PASSWORD}).status_code == 202
    service.mail(address)


@pytest.mark.parametrize("action", ["verify-email", "reset-password"])
def test_a_mails_token_is_good_once_however_many_bring_it_at_once(
    service: Service, anyone: httpx2.Client, user: Account, action: str
) -> None:
    is_reset = action == "reset-password"
    token = reset_token(service, anyone, user.email) if is_reset else service.token_in_mail(user.email)
    passwords = [f"{NEW} number {number}" for number in range(10)]

    def take(password: str) -> httpx2.Response:
        body = {"token": token, "password": password} if is_reset else {"token": token}
        return anyone.post(f"/auth/{action}", json=body)

    answers = at_once(*(lambda password=password: take(password) for password in passwords))
    assert statuses(answers) == [204] + [422] * 9
    if is_reset:
        works = [password for password in passwords if log_in(anyone, user.email, password).status_code == 200]
        won = next(number for number, answer in enumerate(answers) if answer.status_code == 204)
        assert works == [passwords[won]]


def test_a_ticket_opens_one_socket_however_many_bring_it_at_once(service: Service, user: Account) -> None:
    ticket = user.client.post("/auth/ws-ticket").json()["ticket"]

    async def is_open() -> bool:
        async with live(service.url, f"/ws?token={ticket}") as client:
            try:
                return await client.ask(type="ping") == {"type": "pong"}
            except Exception:
                assert await client.close_code() == 4001
                return False

    async def ten() -> list[bool]:
        return await asyncio.gather(*(is_open() for _ in range(10)))

    assert sorted(asyncio.run(ten())) == [False] * 9 + [True]


def both_ways(
    remove: Callable[[Account, Account], httpx2.Response], first: Account, second: Account
) -> list[httpx2.Response]:
    return at_once(lambda: remove(first, second), lambda: remove(second, first))


@pytest.mark.parametrize("change", [{"role": "user"}, {"is_active": False}, None], ids=["demote", "disable", "delete"])
def test_two_admins_who_remove_each_other_at_once_do_not_both_succeed(
    service: Service, admin: Account, new_account: Callable[[], Account], change: dict[str, Any] | None
) -> None:
    def remove(by: Account, whom: Account) -> httpx2.Response:
        path = f"/users/{whom.id}"
        return by.client.delete(path) if change is None else by.client.patch(path, json=change)

    for _ in range(4):
        # The service's own admin is no part of it, or nobody would be left to look.
        first, second = new_account(), new_account()
        for account in (first, second):
            assert admin.client.patch(f"/users/{account.id}", json={"role": "admin"}).status_code == 200
        with rows(service) as database:
            database.execute("UPDATE users SET role = 'editor' WHERE id = ?", (admin.id,))
        try:
            answers = both_ways(remove, first, second)
            with rows(service) as database:
                left = database.one("SELECT count(*) FROM users WHERE role = 'admin' AND is_active")
        finally:
            with rows(service) as database:
                database.execute("UPDATE users SET role = 'admin' WHERE id = ?", (admin.id,))
                database.execute("UPDATE users SET role = 'user' WHERE id IN (?, ?)", (first.id, second.id))
        assert left == 1
        # The other was no admin any more when it was their turn, or the last one.
        assert statuses(answers)[0] in {200, 204}
        assert statuses(answers)[1] in {401, 403, 404, 409}


@pytest.mark.parametrize("how", ["delete", "disable", "log out everywhere"])
def test_no_login_outlives_what_ends_all_sessions(
    service: Service, anyone: httpx2.Client, admin: Account, user: Account, how: str
) -> None:
    stop = Event()

    def keep_logging_in() -> list[str]:
        got: list[str] = []
        while not stop.is_set():
            answer = log_in(anyone, user.email)
            if answer.status_code == 200:
                got.append(answer.json()["access_token"])
            else:
                check_envelope(answer, 401, "INVALID_CREDENTIALS")
        return got

    path = f"/users/{user.id}"
    with ThreadPoolExecutor(6) as pool:
        tries = [pool.submit(keep_logging_in) for _ in range(6)]
        while log_in(anyone, user.email).status_code != 200:
            pass
        if how == "delete":
            ended = admin.client.delete(path)
        elif how == "disable":
            ended = admin.client.patch(path, json={"is_active": False})
        else:
            # Whoever logs in afterwards is in, so nobody may.
            stop.set()
            ended = user.client.delete("/auth/sessions")
        stop.set()
        tokens = [token for attempt in tries for token in attempt.result()]
    assert ended.status_code in {200, 204}, ended.text
    if how == "disable":
        # Enabled again, a session that had slipped through would be alive.
        assert admin.client.patch(path, json={"is_active": True}).status_code == 200
    if how == "log out everywhere":
        check_envelope(user.client.get("/users/me"), 401, "INVALID_TOKEN")
        return
    assert tokens
    for token in tokens:
        check_envelope(who_is(anyone, token), 401, "INVALID_TOKEN")


def test_a_thief_who_knows_the_old_password_does_not_keep_the_account_through_a_reset(
    service: Service, anyone: httpx2.Client, user: Account
) -> None:
    """Whichever comes first, the owner's is the last word."""
    known, mails = PASSWORD, 1
    for number in range(4):
        mails += 1
        token = reset_token(service, anyone, user.email, mails)
        owners = f"{NEW} number {number}"
        thief = service.log_in(user.email, known)
        with closing(thief.client):
            body = {"password": THIEFS, "current_password": known}
            reset, change = at_once(
                lambda token=token, owners=owners: anyone.post(
                    "/auth/reset-password", json={"token": token, "password": owners}
                ),
                lambda thief=thief, body=body: thief.client.patch("/users/me", json=body),
            )
            # A changed password makes the mail's token worthless, and then the owner asks for another one.
            assert {reset.status_code, change.status_code} in ({204, 401}, {204, 422}, {422, 200}, {204, 200})
            if reset.status_code == 204:
                check_envelope(log_in(anyone, user.email, THIEFS), 401, "INVALID_CREDENTIALS")
                check_envelope(thief.client.get("/users/me"), 401, "INVALID_TOKEN")
                known = owners
            else:
                known = THIEFS
        assert log_in(anyone, user.email, known).status_code == 200


def test_no_refresh_outlives_a_new_password(service: Service, anyone: httpx2.Client, user: Account) -> None:
    other = service.log_in(user.email)

    def refreshed() -> list[httpx2.Response]:
        answers: list[httpx2.Response] = []
        token = other.refresh_token
        for _ in range(20):
            answers.append(anyone.post("/auth/refresh", json={"refresh_token": token}))
            if answers[-1].status_code != 200:
                break
            token = answers[-1].json()["refresh_token"]
        return answers

    def changed() -> list[httpx2.Response]:
        body = {"password": NEW, "current_password": PASSWORD}
        return [user.client.patch("/users/me", json=body)]

    with closing(other.client):
        answers, (change,) = at_once(refreshed, changed)
        assert change.status_code == 200
        for answer in answers:
            if answer.status_code == 200:
                check_envelope(who_is(anyone, answer.json()["access_token"]), 401, "INVALID_TOKEN")
                again = anyone.post("/auth/refresh", json={"refresh_token": answer.json()["refresh_token"]})
                check_envelope(again, 401, "INVALID_TOKEN")
    assert user.client.get("/users/me").status_code == 200


def test_two_new_passwords_at_once_leave_one_and_one_session(anyone: httpx2.Client, user: Account) -> None:
    passwords = [f"{NEW} number {number}" for number in range(4)]

    def change(password: str) -> httpx2.Response:
        return user.client.patch("/users/me", json={"password": password, "current_password": PASSWORD})

    answers = at_once(*(lambda password=password: change(password) for password in passwords))
    assert statuses(answers) == [200, 422, 422, 422]
    works = [password for password in passwords if log_in(anyone, user.email, password).status_code == 200]
    assert works == [passwords[[answer.status_code for answer in answers].index(200)]]


def test_a_session_ended_twice_at_once_was_there_once(service: Service, user: Account) -> None:
    other = service.log_in(user.email)
    other.client.close()
    path = f"/auth/sessions/{other.refresh_token.partition('.')[0]}"
    answers = at_once(*(lambda: user.client.delete(path) for _ in range(5)))
    assert statuses(answers) == [204] + [404] * 4


def test_an_api_key_revoked_twice_at_once_was_there_once(admin: Account, anyone: httpx2.Client) -> None:
    key = admin.client.post("/api-keys", json={"name": "k", "scopes": ["metrics"]}).json()
    answers = at_once(*(lambda: admin.client.delete(f"/api-keys/{key['id']}") for _ in range(5)))
    assert statuses(answers) == [204] + [404] * 4
    answer = anyone.get("/internal/metrics", headers={"X-API-Key": key["key"]})
    check_envelope(answer, 401, "INVALID_API_KEY")
