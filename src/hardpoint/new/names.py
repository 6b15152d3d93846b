"""The name of a project: that of its folder, and the Python package's that is made of it."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from keyword import iskeyword
from typing import Final

__all__ = ["NameRefused", "package_name"]

# Longer ones would not leave room for the lines of imports.
_MAX_LENGTH: Final = 30
# The folders of a project's tests, which are imported by these names.
_TAKEN: Final = frozenset({"contract", "hardpoint", "service", "support", "tests"})


class NameRefused(ValueError):
    """A name that cannot be a project's; the message says why."""


def package_name(name: str) -> str:
    """The Python package of a project in the folder `name`: in lower case, `_` for what stands between words.

    Raises:
        NameRefused: There is none, or another package has this name.
    """
    package = re.sub(r"[-. ]+", "_", name.strip()).lower()
    if not package.isascii() or not package.isidentifier() or package.startswith("_"):
        raise NameRefused(f"{name!r} makes no Python package's name: letters, digits, - and _, a letter first")
    if len(package) > _MAX_LENGTH:
        raise NameRefused(f"{name!r} is longer than {_MAX_LENGTH} characters")
    if iskeyword(package):
        raise NameRefused(f"{package!r} is a keyword of Python")
    if package in sys.stdlib_module_names:
        raise NameRefused(f"{package!r} is a module of Python's standard library")
    if package in _TAKEN or package in set(_modules_of_hardpoint()):
        raise NameRefused(f"{package!r} is the name of something that the project itself imports")
    return package


def _modules_of_hardpoint() -> Iterator[str]:
    """The modules of hardpoint's own requirements, and of theirs, as far as they are installed."""
    found, queue = {"hardpoint"}, ["hardpoint"]
    while queue:
        try:
            needed = requires(queue.pop()) or []
        except PackageNotFoundError:
            continue
        names = {_distribution(requirement) for requirement in needed}
        queue += names - found
        found |= names
    for module, distributions in packages_distributions().items():
        if any(_distribution(distribution) in found for distribution in distributions):
            yield module


def _distribution(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
