"""Making a project of the template, by copier. Needs the extra `new`."""

import os
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from copier import run_copy
from copier.errors import CopierAnswersInterrupt, CopierError
from pydantic_core import from_json

from hardpoint import __version__
from hardpoint.new.names import NameRefused, package_name
from hardpoint.new.versions import BUNDLE, write_bundle

__all__ = ["CHOICES", "AnswerRefused", "installed_from", "make_project", "parse_answers"]

_YES_OR_NO: Final = {"yes": True, "true": True, "no": False, "false": False}
CHOICES: Final[Mapping[str, Mapping[str, Any]]] = {
    "database": {"sqlite": "sqlite", "postgresql": "postgresql"},
    "realtime": _YES_OR_NO,
    "jobs": _YES_OR_NO,
    "api_keys": _YES_OR_NO,
}
"""What is asked, and the answers in words."""

# No question: where hardpoint comes from.
_SOURCE: Final = "hardpoint"


class AnswerRefused(ValueError):
    """An answer that cannot be one; the message says why."""


def parse_answers(items: tuple[str, ...]) -> dict[str, Any]:
    """The answers in `key=value` pairs, such as `database=postgresql`, `jobs=no`.

    Raises:
        AnswerRefused: A pair is none, or its key or value is not known.
    """
    answers: dict[str, Any] = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator or (key not in CHOICES and key != _SOURCE):
            raise AnswerRefused(f"{item!r} is not one of {', '.join(f'{name}=…' for name in (*CHOICES, _SOURCE))}")
        if key == _SOURCE:
            answers[key] = _source(value)
        elif value.lower() in CHOICES[key]:
            answers[key] = CHOICES[key][value.lower()]
        else:
            raise AnswerRefused(f"{key} must be one of {', '.join(CHOICES[key])}")
    return answers


def _source(value: str) -> str:
    if "://" in value or not value:
        return value
    path = Path(value).expanduser().absolute()
    if not path.exists():
        raise AnswerRefused(f"hardpoint={value}: there is no such file or folder")
    return path.as_uri()


def installed_from() -> str:
    """Where this hardpoint was installed from, when that was not a package index (PEP 610); empty otherwise."""
    text = distribution("hardpoint").read_text("direct_url.json")
    if text is None:
        return ""
    found = from_json(text)
    revision = found.get("vcs_info", {}).get("commit_id")
    return f"{found['vcs_info']['vcs']}+{found['url']}@{revision}" if revision else str(found["url"])


def make_project(folder: Path, answers: Mapping[str, Any], *, defaults: bool) -> str:
    """Make a project in `folder`; asks for what is not in `answers`, unless the defaults will do. Its package's name.

    Raises:
        NameRefused: The folder's name cannot be a package's, something is in the folder, or it cannot be made.
        AnswerRefused: Something has to be asked, and there is no terminal, or whoever was asked stopped.
        TemplateFault: Git is not there, or fails.
    """
    package = package_name(folder.absolute().name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NameRefused(f"{folder} is there already, and not empty")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise NameRefused(f"{folder} cannot be made: {above} is no folder that can be written to")
    if not defaults and not CHOICES.keys() <= answers.keys() and not sys.stdin.isatty():
        raise AnswerRefused("There is no terminal to ask on: give --defaults, or every answer with --data")
    with TemporaryDirectory(prefix="hardpoint-new-") as temporary:
        bundle = Path(temporary) / BUNDLE
        write_bundle(bundle, __version__)
        try:
            run_copy(
                str(bundle),
                folder,
                data={"package": package, _SOURCE: installed_from(), **answers},
                defaults=defaults,
                quiet=True,
            )
        except CopierAnswersInterrupt:
            raise AnswerRefused("Stopped; nothing was written") from None
        except CopierError as error:
            raise AnswerRefused(f"copier: {error}") from error
        (folder / BUNDLE).write_bytes(bundle.read_bytes())
    return package
