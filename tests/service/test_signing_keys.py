"""Access tokens signed by keys from files."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from support.service import Service, run_cli

PRIVATE = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[str, bytes], str]:
    def write(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


def me(service: Service, token: str) -> int:
    return httpx2.get(f"{service.url}/users/me", headers={"Authorization": f"Bearer {token}"}).status_code


def test_keys_rotate_and_a_removed_one_ends_its_tokens(tmp_path: Path, file_of: Callable[[str, bytes], str]) -> None:
    old_key, new_key = generate_private_key(65_537, 2_048), Ed25519PrivateKey.generate()
    old = file_of("old.pem", old_key.private_bytes(*PRIVATE))
    old_public = file_of("old.pub", old_key.public_key().public_bytes(*PUBLIC))
    new = file_of("new.pem", new_key.private_bytes(*PRIVATE))
    settings = {"public_url": "http://127.0.0.1:1"}
    with Service.started(tmp_path, signing_key_files=old, **settings) as service:
        account = service.create("user")
        account.client.close()
        assert jwt.get_unverified_header(account.access_token)["alg"] == "RS256"
        assert me(service, account.access_token) == 200
    with Service.started(tmp_path, signing_key_files=f"{new}, {old_public}", **settings) as service:
        assert me(service, account.access_token) == 200
        later = service.log_in(account.email)
        later.client.close()
        assert jwt.get_unverified_header(later.access_token)["alg"] == "EdDSA"
        answer = httpx2.get(f"{service.url}/.well-known/jwks.json")
        assert "max-age" in answer.headers["cache-control"]
        keys = answer.json()["keys"]
        assert [key["alg"] for key in keys] == ["EdDSA", "RS256"]
        # Whoever has the set alone verifies.
        found = next(key for key in jwt.PyJWKSet.from_dict({"keys": keys}).keys if key.algorithm_name == "EdDSA")
        claims = jwt.decode(
            later.access_token,
            found.key,
            algorithms=["EdDSA"],
            audience="http://127.0.0.1:1",
            issuer="http://127.0.0.1:1",
        )
        assert claims["sub"] == str(account.id)
        assert not {"d", "p", "q"} & {member for key in keys for member in key}
    with Service.started(tmp_path, signing_key_files=new, **settings) as service:
        assert me(service, account.access_token) == 401
        assert me(service, later.access_token) == 200


def test_what_cannot_sign_ends_the_start_with_a_line_for_each(
    tmp_path: Path, file_of: Callable[[str, bytes], str]
) -> None:
    key = Ed25519PrivateKey.generate()
    public = file_of("public.pem", key.public_key().public_bytes(*PUBLIC))
    private = file_of("private.pem", key.private_bytes(*PRIVATE))
    nonsense = file_of("nonsense.pem", b"secret words")
    for files, told in (
        (f"{tmp_path / 'missing'},{nonsense}", ["cannot be read: FileNotFoundError", "cannot be read as a key"]),
        (public, ["must be able to sign"]),
        (f"{private},{public}", ["same id"]),
    ):
        done = run_cli("serve", "--port", "1", cwd=tmp_path, signing_key_files=files)
        assert done.returncode == 2
        lines = done.stderr.splitlines()
        assert len(lines) == len(told)
        for line, words in zip(lines, told, strict=True):
            assert line.startswith("HARDPOINT_SIGNING_KEY_FILES: ")
            assert words in line
            assert "secret words" not in line
