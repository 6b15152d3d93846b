"""Access tokens signed by key files (section 3.1): what the public keys are good for, and what they are not."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from attacks.conftest import SECRET_KEY
from hardpoint.auth import Key
from support.service import Account, Service, check_envelope

URL = "https://service.example.com"
ACTIVE, RETIRED = Ed25519PrivateKey.generate(), generate_private_key(public_exponent=65_537, key_size=2048)
ACTIVE_PEM = ACTIVE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
ACTIVE_PUBLIC, RETIRED_PUBLIC = (
    key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in (ACTIVE, RETIRED)
)
ACTIVE_KID, RETIRED_KID = Key.from_pem(ACTIVE_PUBLIC).kid, Key.from_pem(RETIRED_PUBLIC).kid

Claims = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a key that signs and one that did."""
    folder = tmp_path_factory.mktemp("signed")
    (folder / "active.pem").write_bytes(ACTIVE_PEM)
    (folder / "retired.pem").write_bytes(RETIRED_PUBLIC)
    settings = {
        "environment": "test",
        "secret_key": SECRET_KEY,
        "public_url": URL,
        "email_verification": "optional",
        "signing_key_files": "active.pem,retired.pem",
    }
    with Service.started(folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def published(anyone: httpx2.Client) -> list[dict[str, str]]:
    answer = anyone.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    keys: list[dict[str, str]] = answer.json()["keys"]
    return keys


@pytest.fixture(scope="module")
def claims(user_of_module: Account) -> Claims:
    found: Claims = jwt.decode(user_of_module.access_token, options={"verify_signature": False})
    return found


def signed(claims: Claims, key: Any, alg: str, **header: object) -> str:
    return jwt.encode(claims, key, alg, headers={"typ": "at+jwt", **header})


def signed_by_secret(claims: Claims, secret: bytes, **header: object) -> str:
    """What PyJWT would refuse to sign."""
    parts = ({"typ": "at+jwt", **header}, claims)
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    mac = base64.urlsafe_b64encode(hmac.digest(secret, text.encode(), "sha256")).rstrip(b"=").decode()
    return f"{text}.{mac}"


def who_is(client: httpx2.Client, token: str) -> httpx2.Response:
    return client.get("/users/me", headers={"Authorization": f"Bearer {token}"})


def refused(client: httpx2.Client, token: str) -> None:
    check_envelope(who_is(client, token), 401, "INVALID_TOKEN")


def test_the_published_keys_verify_and_have_no_private_member(
    user_of_module: Account, published: list[dict[str, str]]
) -> None:
    assert [set(key) for key in published] == [
        {"kty", "crv", "x", "kid", "alg", "use"},
        {"kty", "n", "e", "kid", "alg", "use"},
    ]
    assert [key["kid"] for key in published] == [ACTIVE_KID, RETIRED_KID]
    header = jwt.get_unverified_header(user_of_module.access_token)
    assert header == {"alg": "EdDSA", "typ": "at+jwt", "kid": ACTIVE_KID}
    key = jwt.PyJWK(published[0])
    found = jwt.decode(user_of_module.access_token, key, algorithms=["EdDSA"], audience=URL, issuer=URL)
    assert found["sub"] == str(user_of_module.id)


def test_nothing_that_is_published_signs_and_neither_does_the_secret(
    anyone: httpx2.Client, claims: Claims, published: list[dict[str, str]]
) -> None:
    known = [SECRET_KEY.encode(), ACTIVE_PUBLIC, ACTIVE_PUBLIC.strip(), RETIRED_PUBLIC, b""]
    known += [json.dumps(key).encode() for key in published]
    known += [base64.urlsafe_b64decode(published[0]["x"] + "==")]
    for kid in [ACTIVE_KID, RETIRED_KID, Key.from_secret(SECRET_KEY).kid]:
        for alg in ["HS256", "EdDSA", "RS256"]:
            for secret in known:
                refused(anyone, signed_by_secret(claims, secret, alg=alg, kid=kid))


def test_a_key_of_the_attackers_own_is_no_key(
    anyone: httpx2.Client, claims: Claims, published: list[dict[str, str]]
) -> None:
    own = Ed25519PrivateKey.generate()
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(own.public_key(), as_dict=True)
    for header in [{"kid": ACTIVE_KID}, {"kid": ACTIVE_KID, "jwk": jwk}, {"kid": "own", "jwk": jwk}]:
        refused(anyone, signed(claims, own, "EdDSA", **header))
    refused(anyone, signed(claims, own, "EdDSA", kid=ACTIVE_KID, jwk={**jwk, "kid": ACTIVE_KID}, jku=f"{URL}/keys"))


def test_the_retired_key_verifies_what_it_signed_until_that_expires(anyone: httpx2.Client, claims: Claims) -> None:
    assert who_is(anyone, signed(claims, RETIRED, "RS256", kid=RETIRED_KID)).status_code == 200
    now = int(time.time())
    refused(anyone, signed({**claims, "iat": now - 906, "exp": now - 6}, RETIRED, "RS256", kid=RETIRED_KID))
    # Nor for longer than any token that was ever issued.
    refused(anyone, signed({**claims, "iat": now, "exp": now + 901}, RETIRED, "RS256", kid=RETIRED_KID))


def test_each_key_has_one_algorithm(anyone: httpx2.Client, claims: Claims) -> None:
    for alg in ["PS256", "RS384", "RS512", "PS512"]:
        refused(anyone, signed(claims, RETIRED, alg, kid=RETIRED_KID))
    refused(anyone, signed(claims, RETIRED, "RS256", kid=ACTIVE_KID))
    refused(anyone, signed(claims, ACTIVE, "EdDSA", kid=RETIRED_KID))
    assert who_is(anyone, signed(claims, ACTIVE, "EdDSA", kid=ACTIVE_KID)).status_code == 200
