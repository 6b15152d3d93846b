"""The template of this version, assembled from where its parts are."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from hardpoint import __version__
from hardpoint.new.markers import as_template

__all__ = ["assemble"]

# Of the tests, those that a project has; the others are of hardpoint itself.
_TESTS: Final = (
    "contract/conftest.py",
    "contract/posts.py",
    "contract/test_auth.py",
    "contract/test_http.py",
    "contract/test_jobs.py",
    "contract/test_metrics.py",
    "contract/test_openapi.py",
    "contract/test_posts.py",
    "contract/test_realtime.py",
    "contract/test_users.py",
    "service/test_guards.py",
    "service/test_migrations.py",
    "support/databases.py",
    "support/live.py",
    "support/ports.py",
    "support/service.py",
)
_SOURCES: Final = frozenset({".py", ".mako", ".css", ".html", ".js"})
_PACKAGE_FOLDER: Final = "[= package =]"
_SUFFIX: Final = ".jinja"


def assemble(target: Path) -> None:
    """Write the template into the folder `target`, which copier can render then."""
    package = Path(str(files("hardpoint")))
    packaged = package / "_new"  # pyproject.toml puts both into the wheel; an editable install has a checkout above it.
    own, tests = (
        (packaged / "template", packaged / "tests")
        if packaged.is_dir()
        else (package.parent.parent / "template", package.parent.parent / "tests")
    )
    project: dict[str, str] = {}
    for path in _files_of(package / "service"):
        project[f"src/{_PACKAGE_FOLDER}/{path}"] = (package / "service" / path).read_text("utf-8")
    for name in _TESTS:
        project[f"tests/{name}"] = (tests / name).read_text("utf-8")
    project = {name: as_template(text) for name, text in project.items()}
    for choice in sorted((own / "variants").iterdir()):
        # Instead of the service's file, when the choice was not made.
        for path in _files_of(choice):
            name = (
                str(path).replace("service/", f"src/{_PACKAGE_FOLDER}/", 1) if path.parts[0] == "service" else str(path)
            )
            wanted = choice.name.removeprefix("not_")
            variant = as_template((choice / path).read_text("utf-8"))
            project[name] = f"[% if {wanted} %]\n{project.get(name, '')}[% else %]\n{variant}[% endif %]\n"
    for name, text in project.items():
        _write(target / "project" / f"{name}{_SUFFIX}", text)
    for file in sorted((own / "project").rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            name = (
                str(file.relative_to(own / "project"))
                .replace("dot_", ".")
                .replace("src/package/", f"src/{_PACKAGE_FOLDER}/")
            )
            _write(target / "project" / name, file.read_text("utf-8"))
    _write(target / "copier.yml", (own / "copier.yml").read_text("utf-8").replace("HARDPOINT_VERSION", __version__))


def _files_of(folder: Path) -> list[Path]:
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.suffix in _SOURCES)
    return [path for path in found if "__pycache__" not in path.parts]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
