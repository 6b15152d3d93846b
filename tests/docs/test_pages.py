"""What the pages say that one can set, call and run is there, and nothing is left out."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hardpoint.auth import Key
from hardpoint.cli.group import hardpoint_group
from hardpoint.service.settings import Settings
from support.markdown import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "deploy" / "README.md"]
PAGES += [*sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "skills").rglob("*.md"))]
SERVICE = (ROOT / "docs" / "service.md").read_text()
DEPLOY = (ROOT / "deploy" / "README.md").read_text()
MAKEFILES = (ROOT / "Makefile").read_text() + (ROOT / "template" / "project" / "Makefile.jinja").read_text()
# Of the tests themselves.
OF_TESTS = {"HARDPOINT_KILLS"}


def table(heading: str) -> str:
    """The table below a heading of the service's page."""
    return SERVICE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command without subcommands, by its words."""

    def below(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, click.Command]]:
        if not isinstance(command, click.Group):
            yield " ".join(words), command
            return
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from below((*words, name), found)

    yield from below(("hardpoint",), hardpoint_group())


def test_the_page_lists_every_setting_and_no_other() -> None:
    rows = [row.split("|")[1] for row in table("Settings").splitlines() if row.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(HARDPOINT_\w+)`", row)]
    assert sorted(listed) == sorted(Settings.variable(field) for field in Settings.model_fields)


def test_the_page_lists_every_command_and_each_option_is_one() -> None:
    there = dict(commands())
    listed: set[str] = set()
    for row in table("Commands").splitlines()[2:]:
        if not row.startswith("| `hardpoint "):
            continue
        first, *others = re.findall(r"`([^`]+)`", row.split("|")[1])
        words = [word for word in first.split() if word.islower() and not word.startswith("-")]
        # `jobs list`, `show ID`: the others stand beside the first one's last word.
        names = [" ".join(words)]
        for other in others:
            said = other.split()
            names.append(" ".join(["hardpoint", *said[1:]] if said[0] == "hardpoint" else [*words[:-1], said[0]]))
        listed.update(names)
        for option in re.findall(r"(--[a-z-]+)", row):
            has = {spelling for name in names for item in there[name].params for spelling in item.opts}
            assert option in has, f"{names} have no {option}"
    assert listed == set(there)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_tells_to_set_and_to_make_is_there(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"\bHARDPOINT_[A-Z_]*[A-Z]\b", text))
    assert named - {Settings.variable(field) for field in Settings.model_fields} - OF_TESTS == set()
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILES, re.MULTILINE))
    assert set(re.findall(r"(?:`|&& |^ {4})make ([a-z-]+)", text, re.MULTILINE)) - targets == set()


def test_a_block_with_a_title_is_on_a_page_whose_story_is_run() -> None:
    titled = {str(page.relative_to(ROOT)) for page in PAGES if "```python title=" in page.read_text()}
    # tests/docs/test_auth_start.py and tests/docs/test_tutorial.py.
    assert titled == {"docs/auth.md", "docs/tutorial.md"}


def test_a_signing_key_is_made_as_the_page_says(tmp_path: Path) -> None:
    command = re.search(r"^```sh\n(openssl .*)\n```", SERVICE, re.MULTILINE)
    assert command is not None
    subprocess.run(["bash", "-euc", command[1]], cwd=tmp_path, check=True)
    private, public = (Key.from_pem((tmp_path / name).read_bytes()) for name in ("signing.pem", "signing.pub.pem"))
    assert private.signing is not None
    assert public.signing is None
    assert private.kid == public.kid


def test_an_instance_is_taken_out_and_put_back_as_the_page_says(tmp_path: Path) -> None:
    out, back = re.findall(r'^  (sed -i ".*") nginx/upstream\.conf$', DEPLOY, re.MULTILINE)
    file = tmp_path / "upstream.conf"
    shutil.copy(ROOT / "deploy" / "nginx" / "upstream.conf", file)
    before = file.read_text()
    for command, expected in ((out, [True, False]), (back, [False, False])):
        subprocess.run(["bash", "-euc", f"web=web-1; {command} {file}"], check=True)
        servers = re.findall(r"^    server .*;$", file.read_text(), re.MULTILINE)
        assert [" down;" in server for server in servers] == expected
    assert file.read_text() == before
