"""What a server does when something that runs beside its requests fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2

from support.ports import free_port

APP = """
import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

from hardpoint.aio import running
from hardpoint.lifespan import Lifespan, Resource, open_drain


@asynccontextmanager
async def open_bomb(_):
    lit = asyncio.Event()

    async def burn():
        await lit.wait()
        raise ZeroDivisionError

    async with running(burn()):
        yield lit


app = FastAPI(lifespan=Lifespan(Resource("drain", lambda _: open_drain()), Resource("bomb", open_bomb)))


@app.get("/light")
async def light(request: Request) -> None:
    request.state.bomb.set()


@app.get("/")
async def home() -> None: ...
"""


def test_a_server_whose_background_work_fails_ends_instead_of_serving_what_is_closed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=dict(os.environ), stdout=log, stderr=log)
    try:
        transport = httpx2.HTTPTransport(retries=8)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=30) as client:
            assert client.get("/light").status_code == 200
        assert process.wait(30) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    told = (tmp_path / "log").read_text()
    assert "ZeroDivisionError" in told
