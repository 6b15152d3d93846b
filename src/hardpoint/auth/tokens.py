"""Access tokens: JWTs (RFC 9068) that say who and which session, for minutes, and nothing about what is allowed."""

import json
import re
import secrets
from base64 import urlsafe_b64decode
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

import jwt

from hardpoint.arguments import check_argument
from hardpoint.auth.keys import KeySet
from hardpoint.auth.protocols import UserId
from hardpoint.clock import Clock, wall_clock
from hardpoint.errors import InvalidToken

__all__ = ["AccessClaims", "AccessTokens", "parse_user_id"]

_TYP: Final = "at+jwt"
_MAX_TOKEN_LENGTH: Final = 8_192
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}")
_REQUIRED: Final = ["iss", "aud", "sub", "exp", "iat", "jti", "sid"]
# What is no plain text could not even be looked up.
_SESSION: Final = re.compile(r"[!-~]{1,64}")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_LEEWAY_SECONDS: Final = 60
_MAX_TTL_SECONDS: Final = 36_500 * 86_400
_MAX_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a verified access token says.

    Attributes:
        user_id: The `sub` claim.
        session_id: The `sid` claim; revocation goes by it.
        token_id: The `jti` claim.
        expires_at: Seconds since the epoch.
    """

    user_id: UserId
    session_id: str
    token_id: str
    expires_at: int


class _Verified(NamedTuple):
    """A token that was verified, by which keys, and from when to when it is good, by a clock that may differ."""

    claims: AccessClaims
    keys: KeySet
    begins_at: int
    ends_at: int


class AccessTokens:
    """Issues and verifies access tokens.

    What a token says does not change as long as it lives, so verified ones are remembered by their digest and looked at
    by the clock alone, for a fiftieth of the price. Whether its session lives is asked elsewhere, with each request.

    Args:
        keys: What signs and verifies.
        issuer: The `iss` claim.
        audience: The `aud` claim.
        ttl_seconds: The life of a token, at most 36,500 days.
        leeway_seconds: By how much clocks may differ, 0 to 60.
        max_remembered: How many verified tokens are remembered, about half a kilobyte each; 0 verifies each time.
        clock: Seconds since the epoch.

    Raises:
        ValueError: `ttl_seconds` or `leeway_seconds` is out of range, or `issuer` or `audience` is empty.
        TypeError: `keys` is no `KeySet`.
    """

    def __init__(
        self,
        keys: KeySet,
        *,
        issuer: str,
        audience: str,
        ttl_seconds: int = 900,
        leeway_seconds: int = 5,
        max_remembered: int = 10_000,
        clock: Clock = wall_clock,
    ) -> None:
        check_argument("keys", keys, KeySet, "KeySet(...), such as KeySet(Key.from_secret(secret))")
        if not 0 <= leeway_seconds <= _MAX_LEEWAY_SECONDS or not 1 <= ttl_seconds <= _MAX_TTL_SECONDS:
            raise ValueError("leeway_seconds must be between 0 and 60 and ttl_seconds between 1 and 36500 days")
        if not issuer or not audience:
            raise ValueError("issuer and audience must not be empty, or no token would hold")
        self.keys = keys
        # What `timedelta.total_seconds()` gives is a float, and the times of a token are whole.
        self.ttl_seconds = int(ttl_seconds)
        self._issuer = issuer
        self._audience = audience
        self._leeway_seconds = leeway_seconds
        self._max_remembered = max_remembered
        self._remembered: OrderedDict[bytes, _Verified] = OrderedDict()
        self._clock = clock

    def issue(self, *, user_id: UserId, session_id: str) -> str:
        """A signed access token for the user in the session."""
        now = int(self._clock())
        key = self.keys.active
        signing: Any = key.signing
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "exp": now + self.ttl_seconds,
            "iat": now,
            "jti": secrets.token_urlsafe(12),
            "sid": session_id,
        }
        return jwt.encode(claims, signing, algorithm=key.algorithm, headers={"typ": _TYP, "kid": key.kid})

    def verify(self, token: str) -> AccessClaims:
        """What the token says, when its shape, signature, type, audience and times all hold.

        Raises:
            InvalidToken: Anything about it is wrong; never says what.
        """
        try:
            digest = sha256(token.encode()).digest()
            known = self._remembered.get(digest)
            if known is not None and known.keys is self.keys and known.begins_at <= self._clock() < known.ends_at:
                return known.claims
            known = self._remembered[digest] = self._verify(token)
            if len(self._remembered) > self._max_remembered:
                self._remembered.popitem(last=False)
        except InvalidToken:
            raise
        except Exception as error:
            # PyJWT lets some malformed input escape as other exceptions; each of them is just an invalid token.
            raise InvalidToken from error
        return known.claims

    def _verify(self, token: str) -> _Verified:
        if len(token) > _MAX_TOKEN_LENGTH or not _SHAPE.fullmatch(token):
            raise InvalidToken
        header_part, claims_part, _ = token.split(".")
        _refuse_repetitions(header_part)
        _refuse_repetitions(claims_part)
        header = jwt.get_unverified_header(token)
        key = self.keys.find(header.get("kid"))
        # PyJWT never looks at `typ`, without which one kind of token could be used as another (RFC 8725, section 3.11).
        if key is None or header.get("alg") != key.algorithm or header.get("typ") != _TYP:
            raise InvalidToken
        claims = jwt.decode(
            token,
            key.verifying,
            algorithms=[key.algorithm],
            audience=self._audience,
            issuer=self._issuer,
            # The times are checked below, on our clock.
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        self._check_times(claims)
        if claims["aud"] != self._audience:
            raise InvalidToken
        subject, session_id, token_id = claims["sub"], claims["sid"], claims["jti"]
        user_id = parse_user_id(subject)
        if user_id is None or not isinstance(token_id, str) or not _SESSION.fullmatch(session_id):
            raise InvalidToken
        found = AccessClaims(user_id=user_id, session_id=session_id, token_id=token_id, expires_at=claims["exp"])
        leeway = self._leeway_seconds
        begins_at = max(claims["iat"], claims.get("nbf", 0)) - leeway
        return _Verified(found, self.keys, begins_at, claims["exp"] + leeway)

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._clock()
        expires, issued, not_before = claims["exp"], claims["iat"], claims.get("nbf", 0)
        if not all(type(value) is int for value in (expires, issued, not_before)):
            raise InvalidToken
        if (
            expires + self._leeway_seconds <= now
            or issued - self._leeway_seconds > now
            or not_before - self._leeway_seconds > now
            or expires - issued > self.ttl_seconds
        ):
            raise InvalidToken


def parse_user_id(text: str) -> UserId | None:
    """The id that is written in exactly this way, or `None`: no other spelling of an id is one."""
    if _NUMBER.fullmatch(text):
        number = int(text)
        return number if number <= _MAX_ID else None
    return UUID(text) if _UUID.fullmatch(text) else None


def _refuse_repetitions(part: str) -> None:
    # RFC 7515, section 4 and RFC 7519, section 4 let a parser refuse them; taking the last is how two readers disagree.
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise InvalidToken
        return found

    json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)), object_pairs_hook=unique)
