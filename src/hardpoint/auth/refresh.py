"""Refresh tokens: opaque, one generation after another, each derived and none stored.

A token is `<session id>.<generation>.<mac>`, the mac an HMAC-SHA256 over both under a key derived from the service's
secret and the session's own. Nothing that is stored can be used as a token, not even together with every other row; and
a successor that was lost on the way can be made again, which a random token could not.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

__all__ = ["SessionSecrets", "SessionToken", "new_session_id", "new_session_secret"]

_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]{16,32})\.(0|[1-9][0-9]{0,8})\.([A-Za-z0-9_-]{43})")


def new_session_id() -> str:
    """A session's id: 128 random bits. It is no secret; tokens and the session list show it."""
    return secrets.token_urlsafe(16)


def new_session_secret() -> bytes:
    """A session's own secret: 256 random bits."""
    return secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class SessionToken:
    """What a refresh token or a session cookie claims, before anything about it is verified."""

    session_id: str
    generation: int
    mac: str

    @classmethod
    def parse(cls, text: str) -> "SessionToken | None":
        """The parts of `text`, or `None` when it cannot be one of ours."""
        match = _SHAPE.fullmatch(text)
        return None if match is None else cls(match[1], int(match[2]), match[3])


class SessionSecrets:
    """Makes and checks what holds a session: refresh tokens and cookies.

    Args:
        secret: The service's secret; 32 bytes or more.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"hardpoint session tokens", sha256)

    def refresh_token(self, session_id: str, secret: bytes, generation: int) -> str:
        """The refresh token of this generation."""
        return f"{session_id}.{generation}.{self._mac(b'refresh', session_id, secret, generation)}"

    def cookie(self, session_id: str, secret: bytes) -> str:
        """The value of the session's cookie, which does not rotate: a browser's tabs send it side by side."""
        return f"{session_id}.0.{self._mac(b'cookie', session_id, secret, 0)}"

    def is_refresh_token(self, token: SessionToken, secret: bytes) -> bool:
        """Whether the token's mac is the one of its own claims, for a session with this secret."""
        expected = self._mac(b"refresh", token.session_id, secret, token.generation)
        return hmac.compare_digest(token.mac.encode(), expected.encode())

    def is_cookie(self, token: SessionToken, secret: bytes) -> bool:
        """Whether it is the session's cookie."""
        expected = self._mac(b"cookie", token.session_id, secret, 0)
        return token.generation == 0 and hmac.compare_digest(token.mac.encode(), expected.encode())

    def _mac(self, kind: bytes, session_id: str, secret: bytes, generation: int) -> str:
        message = b"\x00".join((kind, session_id.encode(), str(generation).encode(), secret))
        return urlsafe_b64encode(hmac.digest(self._key, message, sha256)).rstrip(b"=").decode()
