"""`hardpoint skill install`, from a checkout and from a wheel."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from support.markdown import ROOT
from support.service import environment, run_cli

SOURCE = ROOT / "skills" / "hardpoint"


def pages_of(folder: Path) -> dict[str, str]:
    return {str(page.relative_to(folder)): page.read_text() for page in folder.rglob("*") if page.is_file()}


def test_the_skill_is_put_where_agents_look(tmp_path: Path) -> None:
    done = run_cli("skill", "install", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [".agents/skills/hardpoint", ".claude/skills/hardpoint"]
    for folder in done.stdout.splitlines():
        assert pages_of(tmp_path / folder) == pages_of(SOURCE)


def test_what_was_changed_is_replaced_by_force_alone(tmp_path: Path) -> None:
    assert run_cli("skill", "install", "--path", "team", cwd=tmp_path).returncode == 0
    assert run_cli("skill", "install", "--path", "team", cwd=tmp_path).returncode == 0  # The same again is no change.
    changed, missing = (tmp_path / "team" / "hardpoint" / name for name in ("SKILL.md", "references"))
    changed.write_text("ours")
    for page in missing.iterdir():
        page.unlink()
    refused = run_cli("skill", "install", "--path", "team", cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == "team/hardpoint/SKILL.md differs from this version's; --force replaces it\n"
    assert changed.read_text() == "ours"
    assert list(missing.iterdir()) == []
    assert run_cli("skill", "install", "--path", "team", "--force", cwd=tmp_path).returncode == 0
    assert pages_of(tmp_path / "team" / "hardpoint") == pages_of(SOURCE)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = run_cli("skill", "install", "--path", "file/skills", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("file/skills/hardpoint")
    assert "Traceback" not in refused.stderr


def test_a_wheel_made_from_the_source_archive_has_it(tmp_path: Path) -> None:
    def build(folder: Path, target: str) -> Path:
        command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(tmp_path / target)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (made,) = (tmp_path / target).iterdir()
        return made

    with tarfile.open(build(ROOT, "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    with zipfile.ZipFile(build(source, "wheel")) as wheel:
        wheel.extractall(tmp_path / "installed")  # noqa: S202 - it was made three lines above.
    done = subprocess.run(
        [sys.executable, "-m", "hardpoint.cli", "skill", "install"],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
        text=True,
    )
    for folder in done.stdout.splitlines():
        assert pages_of(tmp_path / folder) == pages_of(SOURCE)
    assert len(done.stdout.splitlines()) == 2
    assert pages_of(tmp_path / "installed" / "hardpoint" / "_skill") == pages_of(SOURCE)
