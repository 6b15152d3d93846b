"""Each part imports with the core's packages and those of its own extra alone."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

PARTS = {
    "hardpoint": [],
    "hardpoint.errors": [],
    "hardpoint.log": [],
    "hardpoint.settings": [],
    "hardpoint.middleware": [],
    "hardpoint.routing": [],
    "hardpoint.lifespan": [],
    "hardpoint.lifespan.http_client": ["http"],
    "hardpoint.ratelimit": [],
    "hardpoint.broadcast": [],
    "hardpoint.broadcast.valkey": ["redis"],
    "hardpoint.ratelimit.valkey": ["redis"],
    "hardpoint.valkey": ["redis"],
    "hardpoint.mail": [],
    "hardpoint.openapi": [],
    "hardpoint.mail.smtp": ["smtp"],
    "hardpoint.db": ["sql"],
    "hardpoint.db.migrations": ["sql"],
    "hardpoint.auth": ["auth"],
    "hardpoint.jobs": [],
    "hardpoint.jobs.durable": ["jobs"],
    "hardpoint.jobs.worker": ["jobs"],
    "hardpoint.realtime": [],
    "hardpoint.realtime.valkey": ["redis"],
    "hardpoint.realtime.authentication": ["auth"],
    "hardpoint.realtime.uvicorn": ["serve"],
    "hardpoint.resolving": [],
    "hardpoint.metrics": ["metrics"],
    "hardpoint.metrics.sources": ["metrics"],
    "hardpoint.testing": ["auth"],
    "hardpoint.tracing": [],
    "hardpoint.tracing.otlp": ["otel"],
    "hardpoint.service": ["serve"],
    "hardpoint.cli": [],
    "hardpoint.cli.group": ["serve"],
    "hardpoint.cli.new": ["serve"],
    "hardpoint.new.project": ["new"],
}

# Refuses every top-level module that is not in the list, and says which.
SCRIPT = """
import sys
allowed, part = set(sys.argv[1].split(",")), sys.argv[2]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and top not in sys.stdlib_module_names and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"not allowed: {name}", name=name)
sys.meta_path.insert(0, Refuse())
__import__(part)
"""


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def closure(requirements: list[str]) -> set[str]:
    """The distributions that these requirements bring, with all that those need."""
    found: set[tuple[str, frozenset[str]]] = set()
    queue = list(requirements)
    while queue:
        requirement = queue.pop()
        name = name_of(requirement)
        extras = frozenset(re.findall(r"[\w-]+", (re.search(r"\[(.*?)\]", requirement) or [""])[0]))
        if name == "hardpoint":
            queue += [inner for extra in extras for inner in PROJECT["optional-dependencies"][extra]]
            continue
        if (name, extras) in found:
            continue
        found.add((name, extras))
        try:
            needs = requires(name) or []
        except ModuleNotFoundError:
            continue  # For another platform or version of Python.
        for need in needs:
            needed_for = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", need)
            if needed_for is None or needed_for[1] in extras:
                queue.append(need)
    return {name for name, _ in found}


def modules_of(distributions: set[str]) -> set[str]:
    return {
        module
        for module, owners in packages_distributions().items()
        if any(name_of(owner) in distributions for owner in owners)
    }


@pytest.mark.parametrize(("part", "extras"), PARTS.items(), ids=list(PARTS))
def test_a_part_imports_with_its_own_dependencies_alone(part: str, extras: list[str]) -> None:
    core: list[str] = PROJECT["dependencies"]
    wanted = core + [need for extra in extras for need in PROJECT["optional-dependencies"][extra]]
    allowed = modules_of(closure(wanted)) | {"hardpoint", "_cffi_backend"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, ",".join(sorted(allowed)), part],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_version_is_told_without_importing_anything_heavy() -> None:
    script = (
        "import sys; sys.argv = ['hardpoint', '--version']\n"
        "from hardpoint.cli import main; main()\n"
        "heavy = {'fastapi', 'starlette', 'pydantic', 'sqlalchemy', 'click', 'uvicorn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"hardpoint \d+\.\d+\.\d+\n", done.stdout)
