"""`hardpoint new` as its user meets it: what it makes, what it asks, what it refuses without writing anything."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from hardpoint.cli.new import command
from hardpoint.new.names import NameRefused, package_name
from support.service import environment, run_cli

REFUSED = {
    "1shop": "letters",
    "shop!": "letters",
    "größe": "letters",
    "_shop": "letters",
    "-": "letters",
    "x" * 31: "30 characters",
    "class": "keyword",
    "Import": "keyword",
    "json": "standard library",
    "async-io": None,
    "asyncio": "standard library",
    "fastapi": "imports",
    "SQLAlchemy": "imports",
    "jwt": "imports",
    "hardpoint": "imports",
    "tests": "imports",
    "support": "imports",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_be_a_packages_is_refused_with_the_reason(name: str) -> None:
    if REFUSED[name] is None:
        assert package_name(name) == "async_io"
        return
    with pytest.raises(NameRefused, match=REFUSED[name]) as refused:
        package_name(name)
    assert "\n" not in str(refused.value)


def test_a_folders_name_becomes_a_packages() -> None:
    assert [package_name(name) for name in ("My-Shop", "my.shop", "My Shop 2")] == ["my_shop", "my_shop", "my_shop_2"]


def test_what_is_refused_is_one_line_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for arguments, says in [
        (["class", "--defaults"], "'class' is a keyword of Python"),
        (["full", "--defaults"], "full is there already, and not empty"),
        (["file", "--defaults"], "file is there already, and not empty"),
        (["file/shop", "--defaults"], "file/shop cannot be made: "),
        (["shop"], "There is no terminal to ask on: give --defaults, or every answer with --data"),
        (["shop", "--defaults", "--data", "database=mysql"], "database must be one of sqlite, postgresql"),
        (["shop", "--defaults", "--data", "jobs=perhaps"], "jobs must be one of yes, true, no, false"),
        (["shop", "--data", "jobs"], "'jobs' is not one of database=…, realtime=…, jobs=…, api_keys=…, hardpoint=…"),
        (["shop", "--data", "color=red"], "'color=red' is not one of"),
        (["shop", "--data", "hardpoint=no/such.whl"], "hardpoint=no/such.whl: there is no such file or folder"),
    ]:
        before = sorted(tmp_path.rglob("*"))
        done = CliRunner().invoke(command, arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert sorted(tmp_path.rglob("*")) == before
        assert done.stderr.startswith(says), done.stderr
        assert done.stderr.count("\n") == 1


def test_without_copier_it_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['copier'] = None; sys.argv = ['hardpoint', 'new', 'shop', '--defaults']\n"
        "from hardpoint.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "hardpoint new needs copier: pip install 'hardpoint[new]'\n")
    assert list(tmp_path.iterdir()) == []


def test_without_git_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "hardpoint.cli", "new", "shop", "--defaults"]
    clean = environment() | {"PATH": str(tmp_path)}
    done = subprocess.run(words, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "hardpoint new needs git, which keeps the template's versions\n"
    assert list(tmp_path.iterdir()) == []


def test_a_project_is_made_and_its_user_told_what_is_next(tmp_path: Path) -> None:
    wheel = tmp_path / "hardpoint-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"")
    done = run_cli("new", "apps/My-Shop", "--defaults", f"--data=hardpoint={wheel}", "--data=jobs=no", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "apps/My-Shop has the service my_shop. Next:"
    project = tmp_path / "apps" / "My-Shop"
    assert (project / "src" / "my_shop" / "wiring.py").is_file()
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers == {
        "_commit": version("hardpoint"),
        "_src_path": ".template.bundle",
        "api_keys": True,
        "database": "sqlite",
        "hardpoint": wheel.as_uri(),
        "jobs": False,
        "package": "my_shop",
        "realtime": True,
    }
    assert f"hardpoint[auth,cli,http,metrics,redis,smtp] @ {wheel.as_uri()}" in (project / "pyproject.toml").read_text()


def test_it_asks_on_a_terminal(tmp_path: Path) -> None:
    """Four questions: the second choice of the first, then yes, no, and whatever is the default."""
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hardpoint.cli", "new", "shop", "--data", "hardpoint="],
        cwd=tmp_path,
        env=environment() | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        stdin=inner,
        stdout=inner,
        stderr=inner,
    )
    os.close(inner)
    shown = ""
    steps = [("Which database?", "\x1b[B\r"), ("Live messages", "y"), ("Durable jobs", "n"), ("API keys", "\r")]
    try:
        for question, keys in steps:
            shown += until(terminal, question)
            os.write(terminal, keys.encode())
        until(terminal, "make run")
        assert process.wait(60) == 0, shown
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    answers = yaml.safe_load((tmp_path / "shop" / ".copier-answers.yml").read_text())
    assert {name: answers[name] for name in ("database", "realtime", "jobs", "api_keys")} == {
        "database": "postgresql",
        "realtime": True,
        "jobs": False,
        "api_keys": True,
    }


def until(terminal: int, words: str) -> str:
    """What a terminal shows up to these words."""
    shown, deadline = "", time.monotonic() + 60
    while words not in re.sub(r"\x1b\[[\d;?]*\w", "", shown):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"{words!r} was not shown: {shown}")
        shown += os.read(terminal, 65_536).decode(errors="replace")
    return shown
