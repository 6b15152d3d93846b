"""The skill: every snippet runs, every link leads somewhere, and its head is what agents read."""

from pathlib import Path

import pytest
import yaml

from support.markdown import ROOT, broken_links, code_blocks, run_block

SKILL = ROOT / "skills" / "hardpoint"
PAGES = sorted(SKILL.rglob("*.md"))


@pytest.mark.parametrize("block", code_blocks(PAGES))
def test_a_snippet_runs(block: str, tmp_path: Path) -> None:
    run_block(block, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_the_head_is_what_agents_look_for() -> None:
    _, head, body = (SKILL / "SKILL.md").read_text().split("---\n", 2)
    told = yaml.safe_load(head)
    # agentskills.io: the name is the folder's; the description is all that is read before the skill is chosen.
    assert told.keys() == {"name", "description"}
    assert told["name"] == SKILL.name
    assert 100 < len(told["description"]) <= 1024
    assert {str(page.relative_to(SKILL)) for page in PAGES} == {
        "SKILL.md",
        "references/dependency-injection-patterns.md",
        "references/middleware-examples.md",
    }
    assert all(f"]({page.relative_to(SKILL)})" in body for page in PAGES if page.name != "SKILL.md")
