"""The versions of the template as a git bundle, which a project carries with it and `copier update` compares.

One file that needs no server: copier clones it as it would a repository. It grows by a version whenever a project takes
in the template of a newer hardpoint, so that the version it was made of is always there, wherever it is updated.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hardpoint.new.template import assemble

__all__ = ["BUNDLE", "TemplateFault", "add_version", "write_bundle"]

BUNDLE: Final = ".template.bundle"

# One version is one commit, the same wherever it is made.
_AUTHOR: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "hardpoint"), ("EMAIL", "hardpoint@localhost"), ("DATE", "1700000000 +0000"))
}


class TemplateFault(Exception):
    """The template's versions cannot be read or written; the message says why."""


def write_bundle(path: Path, version: str) -> str:
    """Write a bundle with this hardpoint's template alone; the version's tag.

    Raises:
        TemplateFault: Git is not there, or fails.
    """
    with _repository() as repository:
        _git(repository, "init", "--quiet", "--initial-branch", "main")
        return _commit_and_bundle(repository, path, version)


def add_version(path: Path, version: str) -> str | None:
    """Add this hardpoint's template to the bundle at `path`; the new version's tag, or `None` when nothing changed.

    Raises:
        TemplateFault: There is no such bundle, or git is not there, or fails.
    """
    if not path.is_file():
        raise TemplateFault(f"There is no {path.name} in {path.parent}: it is no project of hardpoint new")
    with _repository() as repository:
        _git(repository, "clone", "--quiet", str(path.absolute()), ".")
        for old in repository.iterdir():
            if old.name != ".git":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        tags = set(_git(repository, "tag").split())
        if not _is_changed(repository):
            return None
        # Between two releases a version's template may change.
        candidates = (version, *(f"{version}.post{number}" for number in range(1, len(tags) + 2)))
        return _commit_and_bundle(repository, path, next(tag for tag in candidates if tag not in tags))


def _is_changed(repository: Path) -> bool:
    assemble(repository)
    _git(repository, "add", "--all", "--force")
    return bool(_git(repository, "status", "--porcelain"))


def _commit_and_bundle(repository: Path, path: Path, tag: str) -> str:
    _is_changed(repository)
    _git(repository, "commit", "--quiet", "--message", f"The template of hardpoint {tag}")
    _git(repository, "tag", tag)
    unfinished = path.with_name(f"{path.name}.new")
    _git(repository, "bundle", "create", "--quiet", str(unfinished.absolute()), "HEAD", "main", "--tags")
    unfinished.replace(path)
    return tag


@contextmanager
def _repository() -> Iterator[Path]:
    with TemporaryDirectory(prefix="hardpoint-template-") as folder:
        yield Path(folder)


def _git(folder: Path, *arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        raise TemplateFault("hardpoint new needs git, which keeps the template's versions")
    # Neither the user's configuration nor a repository around this one has a say.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = {**clean, **_AUTHOR, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = [git, "-c", "core.autocrlf=false", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own words.
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["git failed"])[-1]
        raise TemplateFault(f"git {arguments[0]}: {reason}")
    return done.stdout
