"""The tutorial, as a reader follows it: each step's files are written over the last step's, and its tests run."""

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.markdown import ROOT, within
from support.service import Service, environment

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
STEPS = re.split(r"^## ", TUTORIAL, flags=re.MULTILINE)[1:]
FILE = re.compile(r'^```python title="([\w.]+)"\n(.*?)^```', re.MULTILINE | re.DOTALL)


def files_until(step: int) -> dict[str, str]:
    """What stands in the reader's folder at the end of a step."""
    return {name: code for text in STEPS[: step + 1] for name, code in FILE.findall(text)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder whose modules can be imported, and are forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_every_python_block_is_a_file() -> None:
    assert len(FILE.findall(TUTORIAL)) == len(re.findall(r"^```python", TUTORIAL, re.MULTILINE))
    assert len(STEPS) == 8


@pytest.mark.parametrize("step", range(len(STEPS) - 1), ids=lambda step: f"step-{step + 1}")
def test_a_step_works(step: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in files_until(step).items():
        (folder / name).write_text(code)
    # The tests of earlier steps go on passing: they all run at the end.
    last = step == len(STEPS) - 2
    ran = 0
    for file in files_until(step) if last else dict(FILE.findall(STEPS[step])):
        if not file.startswith("test_"):
            continue
        for name, test in vars(importlib.import_module(file.removesuffix(".py"))).items():
            if name.startswith("test_"):
                place = folder / name
                place.mkdir()
                given = {"tmp_path": place, "monkeypatch": monkeypatch}
                with within(120):
                    test(**{parameter: given[parameter] for parameter in inspect.signature(test).parameters})
                ran += 1
    assert ran >= (len(STEPS) if last else 1)


def test_the_last_step_serves(tmp_path: Path) -> None:
    for name, code in files_until(len(STEPS)).items():
        (tmp_path / name).write_text(code)
    script = re.search(r"^```sh\n(.*?)^```", STEPS[-1], re.MULTILINE | re.DOTALL)
    assert script is not None
    with Service.started(tmp_path, "main:app") as service:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script[1].replace("http://127.0.0.1:8000", service.url)],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert '"text":"buy milk"' in done.stdout
        assert '"status":"ok"' in done.stdout
    assert "Traceback" not in service.log
