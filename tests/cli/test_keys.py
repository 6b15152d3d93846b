"""`hardpoint keys create`."""

from pathlib import Path

import httpx2
import pytest

from support.service import Service, run_cli


def test_a_key_is_printed_once_and_works(tmp_path: Path) -> None:
    with Service.started(tmp_path) as service:
        done = run_cli("keys", "create", "--name", "prometheus", "--scope", "metrics", "--scope", "more", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        key = done.stdout.strip()
        assert key.startswith("hp_1_")
        assert key not in done.stderr + service.log
        answer = httpx2.get(f"{service.url}/internal/metrics", headers={"X-API-Key": key})
        assert answer.status_code == 200
        other = run_cli("keys", "create", "--name", "x", "--scope", "other", "--expires-days", "1", cwd=tmp_path)
        refused = httpx2.get(f"{service.url}/internal/metrics", headers={"X-API-Key": other.stdout.strip()})
        assert refused.status_code == 403


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--name", "x"], "--scope"),
        (["--scope", "x"], "--name"),
        (["--name", "", "--scope", "x"], "name:"),
        (["--name", "x", "--scope", "a b"], "scopes:"),
        (["--name", "x", "--scope", "a", "--expires-days", "0"], "--expires-days"),
    ],
    ids=["no-scope", "no-name", "empty-name", "spaces", "no-days"],
)
def test_what_cannot_be_a_key_is_told_in_a_line(arguments: list[str], told: str, tmp_path: Path) -> None:
    done = run_cli("keys", "create", *arguments, cwd=tmp_path)
    assert done.returncode in {1, 2}
    assert told in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
