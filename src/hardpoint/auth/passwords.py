"""Passwords: what is accepted, how it is hashed, and that hashing never stalls the event loop."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from math import prod
from typing import Final, TypeVar

import anyio
from anyio import to_thread
from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from hardpoint.errors import FieldError, ServiceUnavailable, ValidationFailed
from hardpoint.texts import texts

__all__ = ["MAX_PASSWORD_LENGTH", "MIN_PASSWORD_LENGTH", "PasswordHasher", "PasswordPolicy", "normalise_password"]

T = TypeVar("T")

MIN_PASSWORD_LENGTH: Final = 15
MAX_PASSWORD_LENGTH: Final = 256
# Common passwords, repetitions and keyboard runs of 15 characters are guessed within a million attempts.
_MIN_GUESSES: Final = 1_000_000
_MAX_WAITING: Final = 100
# The estimate is quadratic in the length, and what is unguessable after 40 characters is so altogether.
_ESTIMATED_LENGTH: Final = 40
_MAX_READINGS: Final = 64
_BUSY_RETRY_SECONDS: Final = 2
# Salts of 8 bytes and digests of 4 are the least that RFC 9106, section 3.1 allows.
_ARGON2: Final = re.compile(
    r"\$argon2(?:id|i|d)\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,3})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{6,}"
)
_MAX_MEMORY_KIB: Final = 4 * 1024 * 1024


def normalise_password(password: str, *, field: str = "password") -> str:
    """NFC, when a password is set and when it is checked.

    NIST SP 800-63B-4, section 3.1.1.2 recommends a normalisation, because keyboards differ in how they compose the same
    letter; NFC keeps what the user typed otherwise.

    Raises:
        ValidationFailed: The text is no valid Unicode.
    """
    try:
        password.encode()
    except UnicodeEncodeError:
        message = "Not valid Unicode text"
        raise ValidationFailed(FieldError(field=field, message=message, code="string_unicode")) from None
    return unicodedata.normalize("NFC", password)


class _Threads:
    """Work in threads, a few at a time; the rest waits, and what is too much is refused."""

    def __init__(self, *, max_concurrent: int, max_waiting: int) -> None:
        self._concurrent = max_concurrent
        self._most = max_concurrent + max_waiting
        self._running_and_waiting = 0
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, work: Callable[[], T]) -> T:
        if self._running_and_waiting >= self._most:
            raise ServiceUnavailable("Too many passwords at once", retry_after_seconds=_BUSY_RETRY_SECONDS)
        if self._limiter is None:
            # Made here because it belongs to the running loop.
            self._limiter = anyio.CapacityLimiter(self._concurrent)
        self._running_and_waiting += 1
        try:
            return await to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._running_and_waiting -= 1


class PasswordPolicy:
    """What a new password must be: long and not guessable; never what kinds of characters it is made of.

    Args:
        min_length: In characters. 15 where the password is the only factor (NIST SP 800-63B-4, section 3.1.1.2).
        max_length: In characters; at least 64.
        context_words: Words that a guesser tries here first, such as the service's name.

    Raises:
        ValueError: The lengths are out of range, or `context_words` is one text.
    """

    def __init__(
        self,
        *,
        min_length: int = MIN_PASSWORD_LENGTH,
        max_length: int = MAX_PASSWORD_LENGTH,
        context_words: Iterable[str] = (),
    ) -> None:
        if not 8 <= min_length <= max_length or not 64 <= max_length <= 1024:  # noqa: PLR2004 - ASVS 6.2.1 and 6.2.9.
            raise ValueError("min_length must be at least 8 and max_length between 64 and 1024")
        self.min_length = min_length
        self.max_length = max_length
        self._context_words = texts("context_words", context_words)
        # The estimate is Python, up to a tenth of a second of it: more than one at once would take the interpreter
        # from the event loop.
        self._threads = _Threads(max_concurrent=1, max_waiting=_MAX_WAITING)

    async def check(self, password: str, *, about_user: Iterable[str] = (), field: str = "password") -> str:
        """The password as it is to be hashed.

        Args:
            password: What the user chose.
            about_user: Words about the user, such as the address, that a guesser would try.
            field: The name of the field, for the error.

        Raises:
            ValidationFailed: It does not meet the policy; says why.
            ServiceUnavailable: Too many calls wait already.
        """
        normalised = normalise_password(password, field=field)
        if len(normalised) < self.min_length:
            raise _refused(field, f"Must have at least {self.min_length} characters", "password_too_short")
        if len(normalised) > self.max_length:
            raise _refused(field, f"Must have at most {self.max_length} characters", "password_too_long")
        words = [*self._context_words, *texts("about_user", about_user)]
        if await self._threads.run(lambda: _guesses(normalised, words)) < _MIN_GUESSES:
            raise _refused(field, "Too easy to guess", "password_too_common")
        return normalised


def _guesses(password: str, words: list[str]) -> float:
    # Its dictionaries take a tenth of a second to load, which only a new password needs.
    from zxcvbn import zxcvbn  # noqa: PLC0415

    parts = [part for word in words for part in [word, *word.replace("@", ".").split(".")] if part]
    short = _estimated(password)
    return float(zxcvbn(short, user_inputs=parts, max_length=_ESTIMATED_LENGTH)["guesses"])


def _estimated(password: str) -> str:
    # The estimate reads the password in every combination of what its symbols may stand for, `4` and `@` for an `a`: of
    # all symbols these are hundreds, each of which takes as long as a password without any.
    from zxcvbn.matching import L33T_TABLE, relevant_l33t_subtable  # noqa: PLC0415

    short = password[:_ESTIMATED_LENGTH]
    readings = prod(map(len, relevant_l33t_subtable(short, L33T_TABLE).values()))
    return short if readings <= _MAX_READINGS else short[:MIN_PASSWORD_LENGTH]


def _refused(field: str, message: str, code: str) -> ValidationFailed:
    return ValidationFailed(FieldError(field=field, message=message, code=code))


def _is_readable(stored: str) -> bool:
    # The library answers "no" to a hash that it cannot read, at once; that would tell such an account from any other.
    match = _ARGON2.fullmatch(stored)
    if match is None:
        return False
    memory, iterations, lanes = (int(number) for number in match.groups())
    return 8 * lanes <= memory <= _MAX_MEMORY_KIB and iterations >= 1 and lanes >= 1


class PasswordHasher:
    """Argon2id (RFC 9106) in threads, a few at a time, with a bounded queue.

    One hash takes the memory and the time that it is meant to take; done on the event loop it would stall every other
    request, done without a bound it would exhaust the memory.

    Args:
        memory_kib: Memory for one hash, in KiB. The default is OWASP's first recommendation, 19 MiB.
        iterations: Passes over the memory.
        parallelism: Lanes.
        max_concurrent: Hashes at once, at least 1; the number of processors by default.
        max_waiting: Calls that may wait for their turn before further ones are refused; 0 or more.

    Raises:
        ValueError: `max_concurrent` or `max_waiting` is less than that, or no login could read the hashes, which may
            take 4 GiB of memory and 999 lanes.
    """

    def __init__(
        self,
        *,
        memory_kib: int = 19_456,
        iterations: int = 2,
        parallelism: int = 1,
        max_concurrent: int | None = None,
        max_waiting: int = _MAX_WAITING,
    ) -> None:
        concurrent = max_concurrent if max_concurrent is not None else os.cpu_count() or 1
        if concurrent < 1 or max_waiting < 0:
            raise ValueError(
                "max_concurrent must be at least 1, or every login would wait for ever, and max_waiting 0 or more"
            )
        hasher = Argon2Hasher(time_cost=iterations, memory_cost=memory_kib, parallelism=parallelism)
        self._hash = PasswordHash([hasher])
        self._threads = _Threads(max_concurrent=concurrent, max_waiting=max_waiting)
        # Verified against when there is no account, so that both answers cost the same work.
        self._dummy = self._hash.hash("a password that nobody has")
        if not _is_readable(self._dummy):
            raise ValueError("A hash may take at most 4 GiB of memory and 999 lanes")

    async def hash(self, password: str) -> str:
        """The hash of a password that a policy has accepted.

        Raises:
            ServiceUnavailable: Too many calls wait already.
        """
        return await self._threads.run(lambda: self._hash.hash(normalise_password(password)))

    async def verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Whether `password` is the one behind `stored`, and a new hash to store when its parameters are outdated.

        No hash (an unknown user, an account without a password) and an unreadable one are a "no" that takes as long as
        any other.

        Raises:
            ServiceUnavailable: Too many calls wait already.
            ValidationFailed: The password is no valid Unicode text.
        """
        normalised = normalise_password(password)
        return await self._threads.run(lambda: self._verify(normalised, stored))

    def _verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        try:
            if stored is not None and _is_readable(stored):
                return self._hash.verify_and_update(password, stored)
        except (PwdlibError, ValueError):
            pass
        self._hash.verify(password, self._dummy)
        return False, None
