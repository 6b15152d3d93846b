"""Projects of `hardpoint new`, made without asking anybody."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHOICES = ("realtime", "jobs", "api_keys")
DATABASES = ("sqlite", "postgresql")


def combinations() -> Iterator[dict[str, str | bool]]:
    """Every combination of answers."""
    for database, *answers in itertools.product(DATABASES, *[(True, False)] * len(CHOICES)):
        yield {"database": database, **dict(zip(CHOICES, answers, strict=True))}


def name_of(answers: dict[str, str | bool]) -> str:
    """A package's name for a combination, such as `p_sqlite_jobs_keys`."""
    chosen = [choice.removeprefix("api_") for choice in CHOICES if answers[choice]]
    return "_".join(["p", str(answers["database"]), *chosen])


def ruff(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Ruff on everything below `folder`, each project with its own configuration."""
    command = [str(Path(sys.executable).parent / "ruff"), *arguments, "--no-cache", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
