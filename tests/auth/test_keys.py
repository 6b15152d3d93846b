"""Keys that sign and verify: what may be one, how it is named, and what the world sees of it."""

import json
from base64 import b64encode, urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from hardpoint.auth import AccessTokens, Key, KeySet

SECRET = b"a secret of thirty-two bytes or more"
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
SMALL_RSA = rsa.generate_private_key(public_exponent=65_537, key_size=1024)  # noqa: S505 - what must be refused.


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return pem


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


# Secrets


@given(st.binary(min_size=32, max_size=100).filter(lambda raw: b"-----BEGIN" not in raw))
def test_a_secret_of_32_bytes_is_an_hs256_key_with_a_stable_id(raw: bytes) -> None:
    key = Key.from_secret(raw)
    assert (key.algorithm, key.signing, key.verifying) == ("HS256", raw, raw)
    assert key.kid == Key.from_secret(raw).kid
    assert key.kid != Key.from_secret(raw + b"x").kid


@pytest.mark.parametrize("secret", ["", "x" * 31, "ä" * 15, b"x" * 31])
def test_a_shorter_secret_is_refused(secret: str | bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Key.from_secret(secret)


def test_a_secret_is_counted_in_bytes_and_a_text_is_its_utf8() -> None:
    assert Key.from_secret("ä" * 16).kid == Key.from_secret(("ä" * 16).encode()).kid


@pytest.mark.parametrize("pem", [private_pem(ED25519), public_pem(RSA), b"\n" + public_pem(ED25519)])
def test_a_pem_file_is_no_secret(pem: bytes) -> None:
    with pytest.raises(ValueError, match="from_pem"):
        Key.from_secret(pem)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"kty": "RSA", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx", "e": "AQAB"}),
        json.dumps({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"}),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGhhcmRwb2ludCBkb2VzIG5vdCB1c2UgdGhpcyBvbmU",
    ],
)
def test_what_is_taken_for_a_secret_can_sign(text: str) -> None:
    """A text that cannot sign is refused when the key is made, not at the first login."""
    try:
        key = Key.from_secret(text)
    except ValueError:
        return
    tokens = AccessTokens(KeySet(key), issuer="https://a.example", audience="https://a.example")
    assert tokens.verify(tokens.issue(user_id=1, session_id="s")).user_id == 1


def test_a_key_never_shows_its_secret() -> None:
    key = Key.from_secret(SECRET)
    assert SECRET.decode() not in f"{key!r} {key} {KeySet(key)!r} {key.kid}"
    assert key.jwk() is None


# PEM files


@pytest.mark.parametrize(("pair", "algorithm"), [(ED25519, "EdDSA"), (RSA, "RS256")])
def test_a_private_key_signs_and_a_public_one_verifies_only(pair: Any, algorithm: str) -> None:
    private, public = Key.from_pem(private_pem(pair)), Key.from_pem(public_pem(pair))
    assert private.algorithm == public.algorithm == algorithm
    assert private.signing is not None
    assert public.signing is None
    with pytest.raises(ValueError, match="able to sign"):
        KeySet(public)


@pytest.mark.parametrize("pair", [ED25519, RSA])
def test_a_public_key_has_the_id_of_its_private_one(pair: Any) -> None:
    """Otherwise whoever has only the public key finds no key for the tokens of whoever signs."""
    assert Key.from_pem(public_pem(pair)).kid == Key.from_pem(private_pem(pair)).kid


@pytest.mark.parametrize("pair", [ED25519, RSA])
def test_an_id_does_not_depend_on_how_the_file_is_written(pair: Any) -> None:
    for pem in (private_pem(pair), public_pem(pair)):
        assert Key.from_pem(pem.replace(b"\n", b"\r\n")).kid == Key.from_pem(pem).kid


def number(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=="), "big")


# RFC 7638, section 3.1, and RFC 8037, appendix A.3.
RSA_OF_THE_RFC = rsa.RSAPublicNumbers(
    65_537,
    number(
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ"
        "Hzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-k"
        "EgU8awapJzKnqDKgw"
    ),
).public_key()
ED25519_OF_THE_RFC = ed25519.Ed25519PublicKey.from_public_bytes(
    urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
)


@pytest.mark.parametrize(
    ("public", "thumbprint"),
    [
        (RSA_OF_THE_RFC, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (ED25519_OF_THE_RFC, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ],
    ids=["RS256", "EdDSA"],
)
def test_a_public_key_is_known_by_its_thumbprint(public: Any, thumbprint: str) -> None:
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert Key.from_pem(pem).kid == thumbprint
    assert Key.from_pem(pem, kid="mine").kid == "mine"


def test_an_encrypted_key_needs_its_password() -> None:
    pem = private_pem(ED25519, b"open sesame")
    assert Key.from_pem(pem, password=b"open sesame").kid == Key.from_pem(private_pem(ED25519)).kid
    for password in (None, b"", b"wrong"):
        with pytest.raises(ValueError, match="cannot be read"):
            Key.from_pem(pem, password=password)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"garbage",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        private_pem(ED25519)[:-40],
        SECRET,
    ],
    ids=lambda file: str(len(file)),
)
def test_a_file_that_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Key.from_pem(pem)


@pytest.mark.parametrize("other", [ec.generate_private_key(ec.SECP256R1()), x25519.X25519PrivateKey.generate()])
def test_a_key_of_another_kind_is_refused(other: Any) -> None:
    for pem in (private_pem(other), public_pem(other)):
        with pytest.raises(ValueError, match="Only Ed25519 and RSA"):
            Key.from_pem(pem)


@pytest.mark.parametrize(
    ("label", "der"),
    [
        ("PUBLIC KEY", bytes.fromhex("302a300506032b6579032100") + bytes(32)),
        ("PRIVATE KEY", bytes.fromhex("302e020100300506032b657904220420") + bytes(32)),
    ],
)
def test_a_key_of_a_kind_that_nobody_knows_is_refused_alike(label: str, der: bytes) -> None:
    text = b64encode(der).decode()
    with pytest.raises(ValueError, match="Only Ed25519 and RSA"):
        Key.from_pem(f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n".encode())


def test_a_small_rsa_key_is_refused() -> None:
    for pem in (private_pem(SMALL_RSA), public_pem(SMALL_RSA)):
        with pytest.raises(ValueError, match="2048 bits"):
            Key.from_pem(pem)


# Key sets


def test_a_key_is_found_by_its_id_alone() -> None:
    active, retired = Key.from_secret(SECRET, kid="new"), Key.from_secret(SECRET[::-1], kid="old")
    keys = KeySet(active, [retired])
    assert keys.active is active
    assert keys.find("new") is active
    assert keys.find("old") is retired


@pytest.mark.parametrize(
    "kid", [None, "", "other", "NEW", "new ", "../../../dev/null", "' OR 1=1 --", "https://evil.example/jwks.json"]
)
def test_an_unknown_id_finds_nothing(kid: object) -> None:
    assert KeySet(Key.from_secret(SECRET, kid="new")).find(kid) is None


@given(st.one_of(st.integers(), st.booleans(), st.binary(), st.lists(st.text()), st.dictionaries(st.text(), st.none())))
def test_an_id_that_is_no_text_finds_nothing_and_breaks_nothing(kid: object) -> None:
    assert KeySet(Key.from_secret(SECRET, kid="new")).find(kid) is None


def test_two_keys_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="same id"):
        KeySet(Key.from_secret(SECRET, kid="a"), [Key.from_secret(SECRET[::-1], kid="a")])
    with pytest.raises(ValueError, match="same id"):
        KeySet(Key.from_secret(SECRET), [Key.from_secret(SECRET)])


def test_the_published_set_has_public_keys_alone() -> None:
    keys = KeySet(
        Key.from_pem(private_pem(ED25519), kid="ed"),
        [Key.from_pem(private_pem(RSA), kid="rsa"), Key.from_secret(SECRET, kid="secret")],
    )
    ed, rsa_key = keys.jwks()["keys"]
    assert set(ed) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert (ed["kty"], ed["crv"], ed["kid"], ed["alg"], ed["use"]) == ("OKP", "Ed25519", "ed", "EdDSA", "sig")
    assert set(rsa_key) == {"kty", "n", "e", "kid", "alg", "use"}
    assert (rsa_key["kty"], rsa_key["kid"], rsa_key["alg"], rsa_key["use"]) == ("RSA", "rsa", "RS256", "sig")
    assert SECRET.decode() not in json.dumps(keys.jwks())


def test_the_published_set_is_empty_while_secrets_sign() -> None:
    assert KeySet(Key.from_secret(SECRET), [Key.from_secret(SECRET[::-1])]).jwks() == {"keys": []}
