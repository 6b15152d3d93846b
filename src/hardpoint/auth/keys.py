"""The keys that sign and verify access tokens: one algorithm each, found by their id alone."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt.algorithms import HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

__all__ = ["Algorithm", "Key", "KeySet"]

Algorithm = Literal["HS256", "EdDSA", "RS256"]
_MIN_SECRET_BYTES: Final = 32
_MIN_RSA_BITS: Final = 2048
_OTHER_KIND: Final = "Only Ed25519 and RSA keys can sign tokens"
_KID_LENGTH: Final = 16


class Key:
    """One key with the one algorithm that it is for; made by `from_secret` or `from_pem`.

    Attributes:
        kid: Its id, which a token's header names.
        algorithm: The JWS algorithm (RFC 7518, section 3.1; RFC 8037 for EdDSA).
        verifying: What verifies with it.
        signing: What signs with it; `None` for a public key, which verifies only.
    """

    def __init__(self, *, kid: str, algorithm: Algorithm, verifying: Any, signing: Any | None) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.verifying = verifying
        self.signing = signing

    def __repr__(self) -> str:
        return f"Key(kid={self.kid!r}, algorithm={self.algorithm!r})"

    @classmethod
    def from_secret(cls, secret: str | bytes, *, kid: str | None = None) -> "Key":
        """An HS256 key. A text's UTF-8 bytes are the key.

        Raises:
            ValueError: Fewer than 32 bytes (RFC 7518, section 3.2), or a PEM file's text, which belongs to `from_pem`.
        """
        raw = secret.encode() if isinstance(secret, str) else secret
        if len(raw) < _MIN_SECRET_BYTES:
            raise ValueError(f"An HS256 secret must be at least {_MIN_SECRET_BYTES} bytes long")
        if b"-----BEGIN" in raw:
            raise ValueError("This is a PEM file, not a secret; use Key.from_pem")
        try:
            # What PyJWT takes for another kind of key it would refuse with the first login.
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(raw)
        except InvalidKeyError:
            raise ValueError("This is a key of another kind, not a secret") from None
        return cls(kid=kid or _kid_of_secret(raw), algorithm="HS256", verifying=raw, signing=raw)

    @classmethod
    def from_pem(cls, pem: bytes, *, kid: str | None = None, password: bytes | None = None) -> "Key":
        """An EdDSA (Ed25519) or RS256 key from a PEM file; a public key verifies only.

        Without a `kid` of its own it is known by its thumbprint (RFC 7638), which its public key has as well.

        Raises:
            ValueError: The file cannot be read, has another kind of key, or an RSA key of fewer than 2048 bits.
        """
        private: Any = None
        public: Any
        try:
            if b"PRIVATE KEY" in pem:
                private = load_pem_private_key(pem, password)
                public = private.public_key()
            else:
                public = load_pem_public_key(pem)
        except UnsupportedAlgorithm as error:
            # The library knows neither the key's kind nor its curve.
            raise ValueError(_OTHER_KIND) from error
        except (ValueError, TypeError) as error:
            raise ValueError("The PEM file cannot be read as a key") from error
        if isinstance(public, Ed25519PublicKey) and (private is None or isinstance(private, Ed25519PrivateKey)):
            return cls(kid=kid or _thumbprint("EdDSA", public), algorithm="EdDSA", verifying=public, signing=private)
        if isinstance(public, RSAPublicKey) and (private is None or isinstance(private, RSAPrivateKey)):
            if public.key_size < _MIN_RSA_BITS:
                raise ValueError(f"An RSA key must have at least {_MIN_RSA_BITS} bits")
            return cls(kid=kid or _thumbprint("RS256", public), algorithm="RS256", verifying=public, signing=private)
        raise ValueError(_OTHER_KIND)

    def jwk(self) -> dict[str, Any] | None:
        """The public key as a JWK (RFC 7517); `None` for a secret, which is nobody else's business."""
        if self.algorithm == "HS256":
            return None
        return {**_public_members(self.algorithm, self.verifying), "kid": self.kid, "alg": self.algorithm, "use": "sig"}


def _public_members(algorithm: Algorithm, public: Any) -> dict[str, Any]:
    # What a JWK of this kind must have: `kty`, `crv` and `x` (RFC 8037, section 2), or `kty`, `n` and `e`.
    members: dict[str, Any] = (OKPAlgorithm if algorithm == "EdDSA" else RSAAlgorithm).to_jwk(public, as_dict=True)
    members.pop("key_ops", None)
    return members


def _thumbprint(algorithm: Algorithm, public: Any) -> str:
    # RFC 7638, section 3: the required members, sorted, without spaces.
    text = json.dumps(_public_members(algorithm, public), sort_keys=True, separators=(",", ":"))
    return urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()


def _kid_of_secret(secret: bytes) -> str:
    # A digest tells nothing about a secret of 32 random bytes and lets every process derive the same id.
    return sha256(b"hardpoint kidHS256" + secret).hexdigest()[:_KID_LENGTH]


class KeySet:
    """The key that signs and those that verify, by id.

    To rotate: put the new key first and keep the old one in `retired` for as long as its last tokens live.

    Args:
        active: Signs, and verifies.
        retired: Verify only.
    """

    def __init__(self, active: Key, retired: Iterable[Key] = ()) -> None:
        if active.signing is None:
            raise ValueError("The active key must be able to sign; this is a public key")
        keys: Sequence[Key] = [active, *retired]
        self.active = active
        self._by_kid = {key.kid: key for key in keys}
        if len(self._by_kid) != len(keys):
            raise ValueError("Two keys have the same id")

    def find(self, kid: object) -> Key | None:
        """The key with this id. Whatever a token's header holds is compared, never opened, fetched or parsed."""
        return self._by_kid.get(kid) if isinstance(kid, str) else None

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK Set (RFC 7517, section 5); empty while only secrets sign."""
        return {"keys": [jwk for key in self._by_kid.values() if (jwk := key.jwk()) is not None]}
