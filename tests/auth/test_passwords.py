"""Passwords: what is accepted, that a hash holds, and that hashing is bounded."""

import asyncio
import threading
import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zxcvbn import matching

from hardpoint.auth import PasswordHasher, PasswordPolicy
from hardpoint.auth.passwords import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, normalise_password
from hardpoint.errors import ServiceUnavailable, ValidationFailed

GOOD = "correct horse battery staple"
BAD_TEXT = "correct horse \ud800 battery"


def small_hasher(**options: Any) -> PasswordHasher:
    """One that is quick: what a hash costs is not looked at here."""
    return PasswordHasher(**{"memory_kib": 64, "iterations": 1, **options})


async def fault(policy: PasswordPolicy, password: str, **options: Any) -> tuple[str, str]:
    with pytest.raises(ValidationFailed) as refused:
        await policy.check(password, **options)
    (error,) = refused.value.field_errors
    assert password not in error.message
    return error.field, error.code


# The policy


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "plenty of words make it safe",
        "\u043f\u0430\u0440\u043e\u043b\u044c \u0438\u0437 \u0441\u043b\u043e\u0432 \u0438 \u0435\u0449\u0451",
        "\U0001f40e\U0001f50b\U0001f4ce " * 8 + "x9",
    ],
)
async def test_a_long_password_of_any_characters_is_accepted(password: str) -> None:
    assert await PasswordPolicy().check(password) == unicodedata.normalize("NFC", password)


async def test_the_length_is_counted_in_characters_at_both_ends() -> None:
    policy = PasswordPolicy()
    assert (MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH) == (15, 256)
    words = "\u00fcber kv7 wr\u00f6 zq x" * 20
    assert await policy.check(words[:15]) == words[:15]
    assert await policy.check(words[:256]) == words[:256]
    assert await fault(policy, words[:14]) == ("password", "password_too_short")
    assert await fault(policy, words[:257]) == ("password", "password_too_long")
    assert await fault(policy, "x" * 1_000_000) == ("password", "password_too_long")


async def test_the_length_is_that_of_the_normalised_text() -> None:
    decomposed = "e\u0301" * 14
    assert len(decomposed) == 28
    assert await fault(PasswordPolicy(), decomposed) == ("password", "password_too_short")


@pytest.mark.parametrize(
    "password",
    [
        "a" * 15,
        "a" * 200,
        " " * 20,
        "\u00e9" * 15,
        "123456789012345",
        "abcdefghijklmnopqrst",
        "qwertyuiopasdfgh",
        "passwordpassword",
        "P@ssw0rdP@ssw0rd",
        "password12345678",
        "iloveyouiloveyou",
        "letmeinletmeinletmein",
        "qwerty123456789",
        "trustno1trustno1",
        "password" * 20,
    ],
)
async def test_what_everybody_takes_is_refused(password: str) -> None:
    assert await fault(PasswordPolicy(), password) == ("password", "password_too_common")


async def test_words_about_the_service_and_the_user_are_guessed_first() -> None:
    service, user = "gizmotrongizmotron", "ann.smithers@wozzle.example"
    assert await PasswordPolicy().check(service) == service
    assert await PasswordPolicy().check(user) == user
    policy = PasswordPolicy(context_words=["gizmotron"])
    assert (await fault(policy, service))[1] == "password_too_common"
    assert (await fault(policy, user, about_user=[user]))[1] == "password_too_common"
    assert (await fault(policy, "wozzlewozzlewozzle", about_user=[user]))[1] == "password_too_common"


async def test_a_fault_names_the_field_that_the_caller_named() -> None:
    policy = PasswordPolicy()
    assert await fault(policy, "short", field="new_password") == ("new_password", "password_too_short")
    assert await fault(policy, BAD_TEXT, field="new_password") == ("new_password", "string_unicode")


@pytest.mark.parametrize(("shortest", "longest"), [(7, 64), (0, 64), (65, 64), (15, 63), (15, 1025)])
def test_a_policy_out_of_range_is_refused(shortest: int, longest: int) -> None:
    with pytest.raises(ValueError, match="min_length"):
        PasswordPolicy(min_length=shortest, max_length=longest)


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=10, max_size=80, alphabet=st.characters(exclude_categories=[])))
async def test_any_text_is_accepted_normalised_or_refused(password: str) -> None:
    policy = PasswordPolicy(min_length=8)
    try:
        accepted = await policy.check(password, about_user=["ann@example.com"])
    except ValidationFailed:
        return
    assert accepted == unicodedata.normalize("NFC", password)


@given(st.text())
def test_normalising_is_done_once_and_keeps_what_nfc_keeps(password: str) -> None:
    once = normalise_password(password)
    assert normalise_password(once) == once == unicodedata.normalize("NFC", password)
    assert normalise_password(unicodedata.normalize("NFD", password)) == once


# Hashes


async def test_a_hash_holds_for_its_password_alone() -> None:
    hasher = small_hasher()
    stored = await hasher.hash(GOOD)
    assert stored.startswith("$argon2id$")
    assert GOOD not in stored
    assert await hasher.verify(GOOD, stored) == (True, None)
    for other in ("", GOOD[:-1], GOOD + " ", GOOD + "\x00", GOOD.upper(), GOOD.replace(" ", "\u00a0")):
        assert await hasher.verify(other, stored) == (False, None)


async def test_two_hashes_of_one_password_differ() -> None:
    hasher = small_hasher()
    assert await hasher.hash(GOOD) != await hasher.hash(GOOD)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=300), st.text(max_size=300))
async def test_two_passwords_are_one_exactly_when_they_normalise_to_one(one: str, other: str) -> None:
    hasher = small_hasher()
    ok, _ = await hasher.verify(other, await hasher.hash(one))
    assert ok == (normalise_password(one) == normalise_password(other))


async def test_nothing_is_truncated() -> None:
    hasher = small_hasher()
    stored = await hasher.hash("x" * 255 + "y")
    assert await hasher.verify("x" * 255 + "z", stored) == (False, None)
    assert await hasher.verify("x" * 255 + "y", stored) == (True, None)


async def test_composed_and_decomposed_letters_are_the_same_password() -> None:
    hasher = small_hasher()
    stored = await hasher.hash("cafe\u0301 cr\u00e8me")
    assert await hasher.verify("caf\u00e9 cre\u0300me", stored) == (True, None)


async def test_the_defaults_are_owasps() -> None:
    assert (await PasswordHasher().hash(GOOD)).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize("older", [{"memory_kib": 128}, {"iterations": 2}, {"parallelism": 2, "memory_kib": 128}])
async def test_an_outdated_hash_is_made_anew_by_the_right_password_alone(older: dict[str, int]) -> None:
    hasher = small_hasher()
    stored = await small_hasher(**older).hash(GOOD)
    assert await hasher.verify("wrong", stored) == (False, None)
    ok, new = await hasher.verify(GOOD, stored)
    assert ok
    assert new is not None
    assert new != stored
    assert await hasher.verify(GOOD, new) == (True, None)


MALFORMED = [
    None,
    "",
    "!",
    "garbage",
    "$2b$12$abcdefghijklmnopqrstuv",
    "$argon2id$",
    "$argon2id$v=19$m=64,t=1,p=1$",
    "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ",
    "$argon2id$v=19$m=64,t=1,p=1$c2FsdA$xx",
    "$argon2id$v=19$m=64,t=1,p=1$?$?",
    "$argon2id$v=19$m=0,t=0,p=0$c2FsdHNhbHQ$xxxx",
    "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=99999999999999999999,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$\u00e9",
    "\ud800",
]


@pytest.mark.parametrize("stored", MALFORMED)
async def test_a_missing_or_unreadable_hash_is_a_no(stored: str | None) -> None:
    hasher = small_hasher()
    for password in (GOOD, "", "a password that nobody has"):
        assert await hasher.verify(password, stored) == (False, None)


@pytest.mark.parametrize("stored", MALFORMED)
async def test_a_missing_or_unreadable_hash_costs_a_whole_verification(
    stored: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the time of the answer tells such an account from others."""
    hasher = small_hasher()
    whole = hasher._dummy
    verified: list[str] = []
    verify = hasher._hash.verify

    def noted(password: str, against: str) -> bool:
        verified.append(against)
        return verify(password, against)

    monkeypatch.setattr(hasher._hash, "verify", noted)
    await hasher.verify(GOOD, stored)
    assert verified == [whole]


async def test_text_that_is_no_unicode_is_refused() -> None:
    hasher = small_hasher()
    stored = await hasher.hash(GOOD)
    for work in (lambda: hasher.hash(BAD_TEXT), lambda: hasher.verify(BAD_TEXT, stored)):
        with pytest.raises(ValidationFailed):
            await work()


# The queue


async def test_calls_beyond_the_queue_are_refused_at_once_and_the_others_are_served() -> None:
    hasher = small_hasher(max_concurrent=1, max_waiting=2)
    results = await asyncio.gather(*(hasher.hash(GOOD) for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, ServiceUnavailable)]
    assert len(refused) == 2
    assert {error.headers["Retry-After"] for error in refused if error.headers} == {"2"}
    assert all(isinstance(result, str) for result in results[:3])
    # Nothing is lost of the room.
    again = await asyncio.gather(*(hasher.verify(GOOD, None) for _ in range(3)))
    assert again == [(False, None)] * 3


async def test_a_cancelled_call_gives_its_place_back() -> None:
    hasher = small_hasher(max_concurrent=1, max_waiting=1)
    for _ in range(3):
        tasks = [asyncio.create_task(hasher.hash(GOOD)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(await asyncio.gather(hasher.hash(GOOD), hasher.hash(GOOD))) == 2


async def test_a_hash_is_made_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = small_hasher()
    threads: list[int] = []
    for name in ("hash", "verify", "verify_and_update"):
        work = getattr(hasher._hash, name)

        def noted(*arguments: str, work: Any = work) -> Any:
            threads.append(threading.get_ident())
            return work(*arguments)

        monkeypatch.setattr(hasher._hash, name, noted)
    stored = await hasher.hash(GOOD)
    await hasher.verify(GOOD, stored)
    await hasher.verify(GOOD, None)
    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_new_passwords_are_looked_at_one_after_the_other_and_too_many_are_refused() -> None:
    """What is estimated is estimated in Python, which would take the interpreter from everybody else."""
    policy = PasswordPolicy()
    passwords = [f"correct horse battery staple {number}" for number in range(120)]
    results = await asyncio.gather(*(policy.check(each) for each in passwords), return_exceptions=True)
    refused = [result for result in results if isinstance(result, ServiceUnavailable)]
    assert len(refused) == 120 - 101
    assert refused[0].headers is not None
    assert refused[0].headers["Retry-After"] == "2"
    assert [result for result in results if not isinstance(result, ServiceUnavailable)] == passwords[:101]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_concurrent": 0}, "max_concurrent must be at least 1"),
        ({"max_concurrent": 1, "max_waiting": -1}, "max_waiting 0 or more"),
        # A hash that is taken for unreadable would refuse every login.
        ({"parallelism": 1000, "memory_kib": 8000}, "999 lanes"),
    ],
)
def test_a_hasher_that_would_let_nobody_in_is_not_made(options: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        small_hasher(**options)


@pytest.mark.parametrize("tail", ["", " and much more that nobody would ever guess, on and on" * 4])
async def test_a_long_password_is_judged_by_its_beginning(tail: str) -> None:
    accepted = "correct horse battery staple, or something else" + tail
    assert await PasswordPolicy(max_length=1024).check(accepted) == accepted


@pytest.mark.parametrize("password", ["4@({[<369&#!1|0$5+7%2" * 2, "5+@79{(1[|!<6$4" * 3])
async def test_symbols_that_stand_for_many_letters_make_no_long_work(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in all of its readings took two hundred times as long as any other, in Python, for a stranger's asking."""
    looked_at = 0
    real = matching.dictionary_match

    def counting(text: str, *rest: Any, **named: Any) -> Any:
        nonlocal looked_at
        looked_at += len(text) * (len(text) + 1) // 2
        return real(text, *rest, **named)

    monkeypatch.setattr(matching, "dictionary_match", counting)
    assert await PasswordPolicy().check(password) == password
    assert 1_000 < looked_at < 100_000
