"""The service's secret: from the settings, or made once and kept beside the embedded database."""

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

from hardpoint.auth import Key, KeySet
from hardpoint.settings import SettingsError, check_secret

from hardpoint.service.settings import Settings

__all__ = ["derive", "load_keys", "load_secret"]

_FILE_NAME: Final = "secret_key"


def load_secret(settings: Settings) -> bytes:
    """The secret's bytes.

    Outside of production a missing secret is made and written to the data folder, readable by its owner alone: tokens
    survive a restart, and nobody has to configure anything to begin.

    Raises:
        SettingsError: The file cannot be read or written, or what it holds may not sign.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    path = settings.data_dir / _FILE_NAME
    try:
        secret = _read_or_make(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            [f"{settings.variable('data_dir')}: {path} cannot be used: {type(error).__name__}"]
        ) from error
    if (reason := check_secret(secret)) is not None:
        raise SettingsError([f"{path}: {reason}"])
    return secret.encode()


def load_keys(settings: Settings) -> KeySet:
    """What signs and verifies access tokens: the first of the key files signs and all verify; without any, the secret.

    Raises:
        SettingsError: A file cannot be read or has no key that can be used, the first has no private key, or two have
            the same one; or the secret cannot be used.
    """
    variable = settings.variable("signing_key_files")
    if not settings.signing_key_files:
        try:
            return KeySet(Key.from_secret(load_secret(settings)))
        except ValueError as error:
            reason = f"is the text of a key; name its file in {variable}"
            raise SettingsError([f"{settings.variable('secret_key')}: {reason}"]) from error
    keys: list[Key] = []
    faults: list[str] = []
    for path in settings.signing_key_files:
        try:
            keys.append(Key.from_pem(path.read_bytes()))
        except OSError as error:
            faults.append(f"{variable}: {path} cannot be read: {type(error).__name__}")
        except ValueError as error:
            faults.append(f"{variable}: {path}: {error}")
    if faults:
        raise SettingsError(faults)
    try:
        return KeySet(keys[0], keys[1:])
    except ValueError as error:
        raise SettingsError([f"{variable}: {error}"]) from error


def _read_or_make(path: Path) -> str:
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        # Several workers start at once: one of them wins, and all of them read the same whole file.
        os.link(unfinished, path)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
    return path.read_text(encoding="utf-8").strip()


def derive(secret: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose, so that no two purposes share one (HMAC as a PRF, RFC 5869, section 2.3)."""
    return hmac.digest(secret, b"hardpoint " + purpose.encode(), sha256)
