"""Durable jobs on the command line, and a worker as a process of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from support.servers import PostgresServer
from support.service import Service, environment, run_cli

SECRET = "a-secret-of-this-test-with-32-bytes-or-more"


@contextmanager
def worker(folder: Path, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    with (folder / "worker.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hardpoint.cli", "worker"], cwd=folder, env=environment(**settings), stderr=log
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_in_production_a_worker_runs_what_the_service_queues(
    tmp_path: Path, kind: str, postgres_server: PostgresServer
) -> None:
    sqlite = f"sqlite+aiosqlite:///{tmp_path / 'service.db'}"
    settings = {
        "environment": "production",
        "secret_key": SECRET,
        "database_url": sqlite if kind == "sqlite" else postgres_server.create_database(),
        "email_verification": "optional",
        **({} if kind == "sqlite" else {"trusted_proxies": "127.0.0.1", "public_url": "https://example.com"}),
    }
    refused = run_cli("worker", cwd=tmp_path, **settings)
    assert refused.returncode == 1
    assert "hardpoint db upgrade" in refused.stderr
    assert run_cli("db", "upgrade", cwd=tmp_path, **settings).returncode == 0
    with Service.started(tmp_path, **settings) as service:
        account = service.create("user")
        with closing(account.client) as client:
            post = client.post("/posts", json={"title": "Hello", "body": "A post."}).json()
            job_id = client.post(f"/posts/{post['id']}/publish").json()["job_id"]
            listed = run_cli("jobs", "list", "--status", "queued", cwd=tmp_path, **settings)
            assert job_id in listed.stdout
            assert run_cli("jobs", "cancel", job_id, cwd=tmp_path, **settings).returncode == 0
            assert client.get(f"/jobs/{job_id}").json()["status"] == "cancelled"
            again = run_cli("jobs", "cancel", job_id, cwd=tmp_path, **settings)
            assert (again.returncode, again.stderr) == (1, "The job was cancelled already\n")
            assert run_cli("jobs", "retry", job_id, cwd=tmp_path, **settings).returncode == 0
            assert client.get(f"/jobs/{job_id}").json()["status"] == "queued"
            with worker(tmp_path, **settings):
                deadline = time.monotonic() + 60
                while client.get(f"/jobs/{job_id}").json()["status"] != "succeeded":
                    assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
                    time.sleep(0.1)
            assert client.get(f"/posts/{post['id']}").json()["status"] == "published"
    # Behind a proxy everybody would be one client.
    assert ("no_trusted_proxies" in service.log) is (kind == "sqlite")
    # Links in mails would lead to this machine.
    assert ("no_public_url" in service.log) is (kind == "sqlite")
    shown = run_cli("jobs", "show", job_id, cwd=tmp_path, **settings)
    assert "status       succeeded" in shown.stdout
    assert f"queued by    user:{account.id}" in shown.stdout
    nothing = run_cli("jobs", "show", "0" * 32, cwd=tmp_path, **settings)
    assert (nothing.returncode, nothing.stderr) == (1, "There is no such job\n")
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_two_services_on_one_sqlite_file_run_each_job_once(tmp_path: Path) -> None:
    settings = {"database_url": f"sqlite+aiosqlite:///{tmp_path / 'shared.db'}", "public_url": "http://127.0.0.1:9"}
    assert run_cli("db", "upgrade", cwd=tmp_path, **settings).returncode == 0
    with Service.started(tmp_path, "--workers", "2", **settings) as service:
        account = service.create("user")
        with closing(account.client) as client:
            ids = []
            for number in range(10):
                post = client.post("/posts", json={"title": f"Post {number}", "body": "A post."}).json()
                ids.append(client.post(f"/posts/{post['id']}/publish").json()["job_id"])
            deadline = time.monotonic() + 60
            while {client.get(f"/jobs/{job_id}").json()["status"] for job_id in ids} != {"succeeded"}:
                assert time.monotonic() < deadline, service.log
                time.sleep(0.1)
        for job_id in ids:
            lines = [line for line in service.log.splitlines() if '"job_succeeded"' in line and job_id in line]
            assert len(lines) == 1
