"""No part imports from a floor above its own, and neighbours only where it is said here why."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "hardpoint"

FLOORS: dict[str, int] = {
    "aio": 1,
    "arguments": 1,
    "asgi": 1,
    "clock": 1,
    "cluster": 1,
    "context": 1,
    "errors": 1,
    "log": 1,
    "origins": 1,
    "resolving": 1,
    "scope": 1,
    "sentinel": 1,
    "settings": 1,
    "texts": 1,
    "tracing": 1,
    "valkey": 1,
    "broadcast": 2,
    "db": 2,
    "lifespan": 2,
    "mail": 2,
    "middleware": 2,
    "ratelimit": 2,
    "routing": 2,
    "auth": 3,
    "jobs": 3,
    "metrics": 3,
    "openapi": 3,
    "realtime": 3,
    "testing": 3,
    "service": 4,
    "new": 5,
    "cli": 6,
}
# On the ground floor everything may use everything, without a circle, which the interpreter would refuse.
NEIGHBOURS: dict[str, set[str]] = {
    "metrics": {"jobs", "realtime"},
    "testing": {"auth"},
    # `realtime.authentication` alone, which the rest of the part does without.
    "realtime": {"auth"},
}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def imported(path: Path) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []


def parts_imported(path: Path) -> Iterator[str]:
    for module, names in imported(path):
        if module == "hardpoint":
            yield from (name for name in names if name != "__version__")
        elif module.startswith("hardpoint."):
            yield module.split(".")[1]


def test_every_part_has_a_floor() -> None:
    assert {part_of(path) for path in modules()} == set(FLOORS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_imports_upwards(path: Path) -> None:
    part = part_of(path)
    for other in set(parts_imported(path)) - {part}:
        allowed = FLOORS[other] < FLOORS[part] or FLOORS[part] == 1 or other in NEIGHBOURS.get(part, set())
        assert allowed, f"{part} (floor {FLOORS[part]}) must not import {other} (floor {FLOORS[other]})"


@pytest.mark.parametrize("path", sorted((ROOT / "service").rglob("*.py")), ids=lambda path: path.name)
def test_the_service_imports_public_names_alone(path: Path) -> None:
    """As a user must: from a part's package, or from a module that its package's docstring names."""
    for module, names in imported(path):
        if not module.startswith("hardpoint.") or module.startswith("hardpoint.service"):
            continue
        assert not any(name.startswith("_") for name in [*names, *module.split(".")])
        _, part, *inner = module.split(".")
        if inner:
            docstring = ast.get_docstring(ast.parse((ROOT / part / "__init__.py").read_text())) or ""
            assert inner[0] in docstring, f"{module} is not public"
