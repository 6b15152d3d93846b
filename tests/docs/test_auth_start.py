"""The start of the page on auth: fifteen lines, which run as they are printed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from support.markdown import ROOT
from support.servers import lasting_port

PAGE = (ROOT / "docs" / "auth.md").read_text()


def block(language: str, title: str) -> str:
    found = re.search(rf'^```{language} title="{re.escape(title)}"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_it_is_fifteen_lines_from_an_empty_application_to_a_guarded_route() -> None:
    code = [line for line in block("python", "app.py").splitlines() if line.strip()]
    assert len(code) <= 15
    assert PAGE.index("title=") < PAGE.index("## ")


def test_it_runs_as_it_is_printed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(block("python", "app.py"))
    port = lasting_port()
    command = f"exec env {block('sh', 'start').strip()} --port {port}".replace(
        "uvicorn", f"{sys.executable} -m uvicorn"
    )
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    server = subprocess.Popen(["bash", "-c", command], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    account = {"email": "ann@example.com", "password": "correct horse battery staple"}
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(1200):
                try:
                    refused = client.get("/me")
                    break
                except httpx2.TransportError:
                    assert server.poll() is None, server.communicate()[1]
                    time.sleep(0.05)
            else:
                raise AssertionError("it does not answer")
            assert (refused.status_code, refused.json()["code"]) == (401, "INVALID_TOKEN")
            assert client.post("/auth/register", json=account).status_code == 202
            form = {"username": account["email"], "password": account["password"]}
            token = client.post("/auth/login", data=form).json()["access_token"]
            hello = client.get("/me", headers={"Authorization": f"Bearer {token}"})
            assert hello.json() == "Hello ann@example.com"
            assert client.get("/docs").status_code == 200
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=30)
    assert "Traceback" not in errors
