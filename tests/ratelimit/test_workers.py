"""Several processes that each count for themselves: it is said at the start, and what to do."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hardpoint.ratelimit import MemoryLimiter, open_resilient_limiter
from hardpoint.ratelimit.workers import worker_count
from support.asgi import logged
from support.servers import free_port


@pytest.mark.parametrize(
    ("command", "environment", "count"),
    [
        ("/venv/bin/uvicorn app:app --workers 4", {}, 4),
        ("/venv/bin/uvicorn app:app --workers=4 --port 80", {}, 4),
        ("/venv/lib/uvicorn/__main__.py app:app --workers 3", {}, 3),
        ("/venv/bin/gunicorn -w 2 -k uvicorn_worker.UvicornWorker app:app", {}, 2),
        ("/venv/bin/hypercorn app:app -w 2", {}, 2),
        ("/venv/bin/granian --interface asgi app:app --workers 2", {}, 2),
        ("/venv/bin/fastapi run --workers 2", {}, 2),
        ("/venv/lib/hardpoint/cli/__main__.py serve --workers 2", {}, 2),
        ("/venv/bin/uvicorn app:app", {"WEB_CONCURRENCY": "5"}, 5),
        ("/venv/bin/uvicorn app:app --workers 1", {"WEB_CONCURRENCY": "5"}, 1),
        ("/venv/bin/uvicorn app:app", {}, 1),
        ("/venv/bin/uvicorn app:app --workers", {}, 1),
        ("/venv/bin/uvicorn app:app --workers many", {"WEB_CONCURRENCY": "x"}, 1),
        ("/venv/bin/celery worker --workers 8", {}, 1),
        ("manage.py -w 8", {}, 1),
        ("", {}, 1),
    ],
)
def test_a_worker_knows_how_many_there_are(command: str, environment: dict[str, str], count: int) -> None:
    assert worker_count(command.split(), environment) == count


async def test_only_what_should_hold_for_all_processes_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Store(MemoryLimiter):
        async def ping(self) -> None: ...

    monkeypatch.setattr(sys, "argv", ["/venv/bin/uvicorn", "app:app", "--workers", "3"])
    with logged() as log:
        # What counts while the store is away is meant to.
        async with open_resilient_limiter(Store(is_per_process=True)):
            pass
        assert log.fields("limits_are_per_process") == []
        MemoryLimiter()
        assert log.fields("limits_are_per_process") == [
            {"workers": 3, "remedy": "use open_valkey_limiter instead of MemoryLimiter"}
        ]


APPLICATION = """
from fastapi import FastAPI
from starlette.middleware import Middleware
from hardpoint.lifespan import Lifespan, Resource
from hardpoint.log import configure_logging
from hardpoint.ratelimit import MemoryLimiter, RateLimit, RateLimitMiddleware
configure_logging("json")
app = FastAPI(
    lifespan=Lifespan(Resource.constant("limiter", MemoryLimiter())),
    middleware=[Middleware(RateLimitMiddleware, limits=[RateLimit("9/minute")])],
)
"""


def test_every_worker_of_uvicorn_says_it_at_its_start(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "uvicorn", "application:app", "--workers", "2", "--port", str(free_port())]
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out, env={**os.environ})
    said: list[str] = []
    try:
        while len(said) < 2 and server.poll() is None:
            time.sleep(0.05)
            said = [line for line in log.read_text().splitlines() if "limits_are_per_process" in line]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    assert len(said) == 2, log.read_text()
    assert all(re.search(r'"workers": ?2', line) and "open_valkey_limiter" in line for line in said)
