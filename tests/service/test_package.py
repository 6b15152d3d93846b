"""The service's package, of which a command imports what it needs and no less."""

import subprocess
import sys

import pytest

import hardpoint.service


def jobs_after(statement: str) -> set[str]:
    """The jobs that a process knows which has done nothing but `statement`."""
    script = f"{statement}\nfrom hardpoint.service.jobs.registry import jobs\nprint(*(job.name for job in jobs))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", ["open_jobs", "make_lifespan"])
def test_who_runs_or_tells_of_jobs_knows_all_of_them(name: str) -> None:
    known = jobs_after(f"from hardpoint.service import {name}")
    assert known == jobs_after("import hardpoint.service.app")
    assert len(known) == 3


def test_everything_that_is_named_is_there() -> None:
    for name in hardpoint.service.__all__:
        assert getattr(hardpoint.service, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = hardpoint.service.nothing_of_the_kind  # type: ignore[attr-defined]
