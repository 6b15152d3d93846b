"""The reference has a place for every part that a user imports; `make docs` builds it, with every warning an error."""

import re

from support.markdown import ROOT

SOURCE = ROOT / "src" / "hardpoint"
# The service is described by its contract, the command line by its help; the rest is nobody's to import.
NOT_FOR_USERS = {
    "hardpoint.service",
    "hardpoint.cli",
    "hardpoint.new",
    "hardpoint.aio",
    "hardpoint.arguments",
    "hardpoint.cluster",
    "hardpoint.origins",
    "hardpoint.sentinel",
    "hardpoint.texts",
}


def test_every_part_is_in_the_reference() -> None:
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    described = set(re.findall(r"^\.\. automodule:: (\S+)", pages, re.MULTILINE))
    parts = {f"hardpoint.{module.stem}" for module in SOURCE.glob("[!_]*") if module.suffix != ".typed"}
    # Modules that a package's docstring says are imported by their own names.
    docstrings = "".join(package.read_text().split('"""')[1] for package in SOURCE.glob("*/__init__.py"))
    by_name = set(re.findall(r"`(hardpoint\.\w+\.\w+)`", docstrings))
    assert len(by_name) > 5
    assert (parts | by_name) - NOT_FOR_USERS - described == set()


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    listed = {line for block in re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL) for line in block.split()}
    pages = {
        str(page.relative_to(ROOT / "docs").with_suffix(""))
        for page in (ROOT / "docs").rglob("*.md")
        if page.name != "index.md"
    }
    assert pages - listed == set()
