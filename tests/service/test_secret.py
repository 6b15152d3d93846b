"""The service's secret: given, or made once and kept; and the keys that are derived from it."""

import os
import threading
from pathlib import Path

import pytest
from hardpoint.settings import Settings, SettingsError, check_secret, load_settings
from hypothesis import given
from hypothesis import strategies as st

from hardpoint.service.secret import derive, load_secret

SECRET = "a secret of thirty-two bytes or more"


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def settings(folder: Path) -> Settings:
    return load_settings(data_dir=folder)


def fault(folder: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        load_secret(settings(folder))
    (line,) = refused.value.faults
    assert "\n" not in line
    return line


def test_a_given_secret_is_its_utf8_and_nothing_is_written(tmp_path: Path) -> None:
    given_settings = load_settings(data_dir=tmp_path / "data", secret_key=f"{SECRET} \u00fc")
    assert load_secret(given_settings) == f"{SECRET} \u00fc".encode()
    assert not (tmp_path / "data").exists()


def test_a_given_secret_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environb, b"HARDPOINT_SECRET_KEY", SECRET.encode() + b"\xff\xfe")
    with pytest.raises(SettingsError):
        load_secret(settings(tmp_path))


def test_a_missing_secret_is_made_once_and_is_fit_to_sign(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    made = load_secret(settings(folder))
    assert check_secret(made.decode()) is None
    assert load_secret(settings(folder)) == made
    assert load_secret(settings(tmp_path / "other")) != made


def test_the_file_and_its_folder_are_the_owners_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        load_secret(settings(tmp_path / "data"))
    finally:
        os.umask(umask)
    load_secret(settings(tmp_path / "data"))
    (file,) = (tmp_path / "data").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_many_that_start_at_once_have_one_secret(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        found: list[bytes] = []
        barrier = threading.Barrier(8)

        def start(folder: Path = folder, found: list[bytes] = found, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            found.append(load_secret(settings(folder)))

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1
        assert len(list(folder.iterdir())) == 1


def test_an_editors_line_break_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text(f"{SECRET}\n")
    assert load_secret(settings(tmp_path)) == SECRET.encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "32 bytes"),
        (b"\n", "32 bytes"),
        (b"canary", "32 bytes"),
        (b"canary" * 10, "distinct"),
        (b"change-me-change-me-change-me-0123456789", "documentation"),
        (b"\xff\xfecanary canary canary canary canary", "cannot be used"),
    ],
)
def test_a_file_that_may_not_sign_is_one_line_with_its_path_and_not_its_content(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "secret_key").write_bytes(content)
    line = fault(tmp_path)
    assert str(tmp_path / "secret_key") in line
    assert says in line
    assert "canary" not in line
    # It is the operator's: never replaced.
    assert (tmp_path / "secret_key").read_bytes() == content


def test_a_folder_that_cannot_be_used_is_one_line_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "secret_key").mkdir(parents=True)
    for folder in ("file", "file/below", "folder"):
        assert fault(tmp_path / folder).startswith("HARDPOINT_DATA_DIR: ")


def test_production_makes_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HARDPOINT_SECRET_KEY: must be set in production"):
        load_settings(environment="production", data_dir=tmp_path)


# Derived keys


@given(st.binary(min_size=32, max_size=64), st.text(max_size=20), st.text(max_size=20))
def test_each_purpose_has_a_key_of_its_own(secret: bytes, purpose: str, other: str) -> None:
    key = derive(secret, purpose)
    assert len(key) == 32
    assert key == derive(secret, purpose)
    assert key != secret
    assert (key == derive(secret, other)) == (purpose == other)
    assert key != derive(secret + b"x", purpose)


def test_a_derivation_never_changes() -> None:
    """Another one would end every session and break every cursor with an upgrade."""
    assert (
        derive(SECRET.encode(), "sessions").hex() == "b79b8c6039f5ae5871dbb20e9edb0a38fa0a1bad0178520630bb20c177a9e98c"
    )
    assert (
        derive(SECRET.encode(), "cursors").hex() == "a296d97299e4e00dda3eb296ec5e83f6c7f85b3abb7dde4a048e3c8efc1091b0"
    )
