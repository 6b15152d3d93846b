"""Every Python block of the README and of `docs/` runs, and the README's tour works as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.markdown import ROOT, broken_links, code_blocks, run_block
from support.service import Service, environment

PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("block", code_blocks(PAGES))
def test_a_block_runs(block: str, tmp_path: Path) -> None:
    run_block(block, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_the_tour_of_the_readme_works(tmp_path: Path) -> None:
    tour = re.search(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert tour is not None
    with Service.started(tmp_path) as service:
        script = tour[1].replace("http://127.0.0.1:8000", service.url)
        script = script.replace(".venv/bin/hardpoint", f"{sys.executable} -m hardpoint.cli")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert '"title":"Hello"' in done.stdout
    assert '"next_cursor":null' in done.stdout
    assert '"title":"Unprocessable Content"' in done.stdout or '"status":422' in done.stdout


def test_every_test_that_the_security_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text()))
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 50
    assert named - defined == set()
