"""API keys: for programs, which are no users; shown once, stored as a digest, limited to scopes."""

import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Generic, TypeVar

from hardpoint.auth.protocols import ApiKeyStore, AuthApiKey
from hardpoint.errors import InvalidApiKey, NotFound
from hardpoint.log import get_logger
from hardpoint.texts import texts

__all__ = ["ApiKeys", "check_scope", "digest"]

S = TypeVar("S")

logger = get_logger("hardpoint.auth")

_PREFIX: Final = "hp"
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_MAX_ID_DIGITS: Final = 18
_LAST_USED_RESOLUTION: Final = timedelta(minutes=1)


class ApiKeys(Generic[S]):
    """Makes, recognises and revokes API keys; an `Auth` has one as `auth.api_keys`.

    Args:
        store: The store on a database session.
        now: The time, aware, in UTC.
    """

    def __init__(self, store: Callable[[S], ApiKeyStore], now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def create(
        self, session: S, *, name: str, scopes: list[str], expires_at: datetime | None = None
    ) -> tuple[AuthApiKey, str]:
        """A new API key, and its text `hp_<id>_<secret>`, which is shown this once.

        Raises:
            ValueError: `scopes` is one text, or has what is no scope.
        """
        # In one text every scope that is a part of it would be found.
        for scope in texts("scopes", scopes):
            check_scope(scope)
        secret = secrets.token_urlsafe(32)
        key = await self._store(session).add_api_key(
            name=name,
            digest=digest(secret),
            scopes=scopes,
            created_at=self._now(),
            expires_at=expires_at,
        )
        logger.info("api_key_created", key_id=key.id)
        return key, f"{_PREFIX}_{key.id}_{secret}"

    async def authenticate(self, session: S, text: str) -> AuthApiKey:
        """The living API key with this text.

        Raises:
            InvalidApiKey: It is unknown, wrong, revoked or expired.
        """
        prefix, _, rest = text.partition("_")
        digits, _, secret = rest.partition("_")
        if prefix != _PREFIX or not (digits.isascii() and digits.isdigit()) or len(digits) > _MAX_ID_DIGITS:
            raise InvalidApiKey
        key, now = await self._store(session).api_key_by_id(int(digits)), self._now()
        # A digest of 32 random bytes needs no slow hash, and bytes compare in constant time whatever they hold.
        if key is None or not hmac.compare_digest(digest(secret), key.digest):
            raise InvalidApiKey
        if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
            raise InvalidApiKey
        if key.last_used_at is None or now - key.last_used_at >= _LAST_USED_RESOLUTION:
            await self._store(session).see_api_key(key, now=now)
            logger.info("api_key_used", key_id=key.id)
        return key

    async def revoke(self, session: S, key_id: int) -> None:
        """End an API key.

        Raises:
            NotFound: There is no such living key.
        """
        if not await self._store(session).revoke_api_key(key_id, now=self._now()):
            raise NotFound
        logger.info("api_key_revoked", key_id=key_id)


def check_scope(scope: str) -> None:
    """Refuse what is no scope: printable ASCII without spaces, quotes and backslashes (RFC 6749, section 3.3).

    Raises:
        ValueError: It is none.
    """
    if not _SCOPE.fullmatch(scope):
        raise ValueError(f"{scope!r} is no scope: write printable ASCII without spaces, quotes and backslashes")


def digest(token: str) -> bytes:
    """What is stored of a random token: SHA-256, which needs no salt for 256 random bits."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
