"""Two versions of hardpoint, installed from wheels, and a project that its user changes between them."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from support.service import environment

ROOT = Path(__file__).parents[2]


class Project:
    """A project in a git repository, as its user has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def hardpoint(self, installed: Path, *arguments: str, cwd: Path | None = None) -> str:
        return self._run(installed, "-m", "hardpoint.cli", *arguments, cwd=cwd)

    def copier(self, *arguments: str) -> str:
        """Copier's own command, which knows nothing of hardpoint."""
        return self._run(None, "-m", "copier", *arguments)

    def _run(self, installed: Path | None, *arguments: str, cwd: Path | None = None) -> str:
        clean = environment() | ({"PYTHONPATH": str(installed)} if installed else {})
        done = subprocess.run(
            [sys.executable, *arguments], cwd=cwd or self.folder, env=clean, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.com", *arguments]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")

    def change(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert text.count(old) == 1, name
        (self.folder / name).write_text(text.replace(old, new))

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    @property
    def answers(self) -> dict[str, object]:
        found: dict[str, object] = yaml.safe_load(self.read(".copier-answers.yml"))
        return found


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """hardpoint as a wheel unpacks it, and as a later version will be."""
    folder = tmp_path_factory.mktemp("versions")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "old")
    shutil.copytree(folder / "old", folder / "new")
    package = folder / "new" / "hardpoint"
    for name, old, new in [
        ("__init__.py", '__version__ = "0.1.0"', '__version__ = "9.0.0"'),
        ("service/posts/service.py", '"""A new draft."""', '"""A new draft, by its author."""'),
        ("service/access.py", 'Roles("user", "editor", "admin")', 'Roles("user", "editor", "auditor", "admin")'),
        ("service/wiring.py", "_REQUEST_SECONDS: Final = 30", "_REQUEST_SECONDS: Final = 20"),
        ("service/jobs/housekeeping.py", "timedelta(days=7)", "timedelta(days=8)"),
        ("_new/template/project/Makefile.jinja", "clean:", "new-target:\n\ttrue\n\nclean:"),
    ]:
        text = (package / name).read_text()
        assert text.count(old) == 1, name
        (package / name).write_text(text.replace(old, new))
    (package / "service" / "posts" / "drafts.py").write_text('"""What only the newer version has."""\n')
    (package / "service" / "asgi.py").rename(package / "service" / "entry.py")
    return folder / "old", folder / "new"


@pytest.fixture(scope="module")
def made(versions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Made by the older version, without jobs, and committed."""
    folder = tmp_path_factory.mktemp("made")
    made = Project(folder / "shop")
    made.hardpoint(versions[0], "new", "shop", "--defaults", "--data=jobs=no", "--data=hardpoint=", cwd=folder)
    made.git("init", "--quiet")
    made.commit()
    return made


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    """A clone of it."""
    made.git("clone", "--quiet", ".", str(tmp_path / "shop"))
    return Project(tmp_path / "shop")


def test_what_changed_in_the_template_comes_in_beside_what_its_user_changed(
    versions: tuple[Path, Path], project: Project
) -> None:
    project.change("src/shop/posts/service.py", "STAFF: Final = ", "# Who sees everything.\nSTAFF: Final = ")
    project.change("src/shop/description.py", "TITLE: Final = ", "# On the sign.\nTITLE: Final = ")
    project.change("src/shop/wiring.py", "_REQUEST_SECONDS: Final = 30", "_REQUEST_SECONDS: Final = 60")
    (project.folder / "src" / "shop" / "orders.py").write_text('"""Mine."""\n')
    (project.folder / "src" / "shop" / "tracing.py").unlink()
    project.commit()

    told = project.hardpoint(versions[1], "new", ".", "--refresh")
    assert ".template.bundle has the template 9.0.0" in told
    assert project.git("status", "--porcelain") == " M .template.bundle\n"
    project.commit()
    project.copier("update", "--defaults")

    # Both changes, in one file and in others.
    posts = project.read("src/shop/posts/service.py")
    assert '"""A new draft, by its author."""' in posts
    assert "# Who sees everything." in posts
    assert '"user", "editor", "auditor", "admin"' in project.read("src/shop/access.py")
    assert "# On the sign." in project.read("src/shop/description.py")
    assert "new-target:" in project.read("Makefile")
    # What is new is there, what went is gone, and what the user made or took away stays so.
    assert (project.folder / "src" / "shop" / "posts" / "drafts.py").is_file()
    assert (project.folder / "src" / "shop" / "entry.py").is_file()
    assert not (project.folder / "src" / "shop" / "asgi.py").exists()
    assert project.read("src/shop/orders.py") == '"""Mine."""\n'
    assert not (project.folder / "src" / "shop" / "tracing.py").exists()
    # What was not chosen does not come back.
    assert not (project.folder / "src" / "shop" / "jobs").exists()
    assert "hardpoint[auth,cli,http,metrics,redis,smtp]==9.0.0" in project.read("pyproject.toml")
    # The same line changed on both sides is for the user to decide.
    conflict = project.read("src/shop/wiring.py")
    assert re.search(
        r"<<<<<<<.*\n_REQUEST_SECONDS: Final = 60\n=======\n_REQUEST_SECONDS: Final = 20\n>>>>>>>", conflict
    )
    assert "UU src/shop/wiring.py" in project.git("status", "--porcelain")
    assert project.answers["_commit"] == "9.0.0"
    assert project.answers["_src_path"] == ".template.bundle"


def test_an_answer_may_change_with_an_update(versions: tuple[Path, Path], project: Project) -> None:
    project.hardpoint(versions[1], "new", ".", "--refresh")
    project.commit()
    project.copier("update", "--defaults", "--data", "jobs=true")
    assert "days=8" in project.read("src/shop/jobs/housekeeping.py")
    assert "durable" in project.read("src/shop/wiring.py")
    assert project.answers["jobs"] is True


def test_a_template_that_did_not_change_is_no_new_version(versions: tuple[Path, Path], project: Project) -> None:
    before = (project.folder / ".template.bundle").read_bytes()
    assert project.hardpoint(versions[0], "new", ".", "--refresh") == ".template.bundle has this template already\n"
    assert (project.folder / ".template.bundle").read_bytes() == before


def test_between_two_releases_a_version_may_have_several_templates(
    versions: tuple[Path, Path], project: Project, tmp_path: Path
) -> None:
    shutil.copytree(versions[0], tmp_path / "next")
    page = tmp_path / "next" / "hardpoint" / "service" / "access.py"
    for number in (1, 2):
        page.write_text(page.read_text() + f"# {number}\n")
        told = project.hardpoint(tmp_path / "next", "new", ".", "--refresh")
        assert f"0.1.0.post{number}. Commit it" in told
    project.commit()
    project.copier("update", "--defaults")
    assert project.read("src/shop/access.py").endswith("# 1\n# 2\n")
    assert project.answers["_commit"] == "0.1.0.post2"


def test_a_folder_that_is_no_project_is_told_in_a_line(versions: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hardpoint.cli", "new", ".", "--refresh"]
    clean = environment() | {"PYTHONPATH": str(versions[0])}
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "it is no project of hardpoint new" in done.stderr
    (tmp_path / ".template.bundle").write_text("something else")
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("git clone: ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / ".template.bundle").read_text() == "something else"
