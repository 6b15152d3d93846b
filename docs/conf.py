"""How Sphinx builds the documentation; `make docs` runs it. Nothing is fetched, and the pages ask no other host.

Sphinx, because it is released every few months, checks every reference, and needs no network. MkDocs was last
released in 2024, Material for MkDocs calls itself inactive, and Zensical, its successor, is in beta.
"""

import importlib
import inspect
import logging
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError, PycodeError
from sphinx.pycode import ModuleAnalyzer
from sqlalchemy.exc import SAWarning

from hardpoint import __version__

# Mixins' columns are looked at where no table is.
warnings.filterwarnings("ignore", category=SAWarning)
logging.getLogger("alembic").setLevel(logging.WARNING)

project = "hardpoint"
author = "The hardpoint founders"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"hardpoint {version}"
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
myst_heading_anchors = 3
# Docstrings are Markdown of the plainest kind, in which a backtick is code.
default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# What SQLAlchemy and Starlette say of their own is in their own documentation.
autodoc_inherit_docstrings = False
maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_LIST_ITEM: Final = re.compile(r"\s*([-*]|\d+\.)\s")


def mark_code(_app: Sphinx, _what: str, _name: str, _subject: Any, _options: Any, lines: list[str]) -> None:
    """Make code of what a docstring indents below a sentence, as Markdown does; runs before napoleon.

    Napoleon's sections (`Args:`) have no empty line before what they indent.
    """
    marked: list[str] = []
    inside = False
    for place, line in enumerate(lines):
        before = lines[place - 1] if place else ""
        sentence = next((earlier for earlier in reversed(lines[:place]) if earlier.strip()), "")
        begins = line.startswith("    ") and not before.strip() and sentence and not sentence.startswith(" ")
        if begins and not inside and not _LIST_ITEM.match(sentence):
            marked += [".. code-block:: python", ""]
            inside = True
        elif line and not line.startswith(" "):
            inside = False
        marked.append(line)
    lines[:] = marked


def gather_texts_of_values(app: Sphinx) -> None:
    """Let autodoc find the text below a value in the module that defines it, where a package shows the value."""
    for page in Path(app.srcdir, "reference").glob("*.md"):
        for name in re.findall(r"automodule:: (\S+)", page.read_text()):
            importlib.import_module(name)
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "hardpoint"}
    texts: dict[str, dict[tuple[str, str], list[str]]] = {}
    for name in modules:
        with suppress(PycodeError):  # Sphinx's parser trips over some assignments to several names.
            texts[name] = ModuleAnalyzer.for_module(name).find_attr_docs()
    for package, module in modules.items():
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if isinstance(value, type) or inspect.isroutine(value):
                continue
            found = (text[("", name)] for at, text in texts.items() if at.startswith(package) and ("", name) in text)
            ModuleAnalyzer.for_module(package).attr_docs[("", name)] = next(found, [f"`{value!r}`"])


def link_to_pages(_app: Sphinx, _name: str, content: list[str]) -> None:
    """Turn links out of this folder, which work in the repository, into links to the page that includes the file."""
    content[0] = re.sub(r"\]\(((?:\.\./)*)\.\./deploy/README\.md\)", r"](\1deploying.md)", content[0])


def refuse_other_hosts(app: Sphinx, error: Exception | None) -> None:
    """Fail when a page would load something from another host."""
    if error is not None:
        return
    for page in Path(app.outdir).rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text()):
            if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag):
                raise ExtensionError(f"{page}: {tag}")


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", mark_code, priority=100)
    app.connect("builder-inited", gather_texts_of_values)
    app.connect("source-read", link_to_pages)
    app.connect("build-finished", refuse_other_hosts)
