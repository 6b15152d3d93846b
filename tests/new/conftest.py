import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from copier import run_copy

from hardpoint.new.template import assemble
from support.projects import combinations, name_of


@dataclass(frozen=True)
class Project:
    """A project that was made for a test."""

    package: str
    folder: Path
    answers: dict[str, str | bool]

    @property
    def files(self) -> dict[str, str]:
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_text() for path in found if path.suffix != ".pyc"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    assemble(folder)
    return folder


@pytest.fixture(scope="session")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Project]:
    """One for each combination of choices, made by whichever of the run's processes is the first to need them."""
    folder = tmp_path_factory.getbasetemp()
    root = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "projects"
    root.mkdir(exist_ok=True)
    made = [Project(name_of(answers), root / name_of(answers), answers) for answers in combinations()]
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for project in made:
            if not project.folder.exists():
                data = {**project.answers, "package": project.package, "hardpoint": ""}
                run_copy(str(template), project.folder, data=data, defaults=True, quiet=True)
    return made
