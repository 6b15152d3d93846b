"""A real nginx with `deploy/nginx`, on a port and a folder of its own."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from support.servers import free_port

DEPLOYED = Path(__file__).parent.parent.parent / "deploy" / "nginx"


def nginx_path() -> str:
    """Where nginx is; without it the test is skipped, in CI it fails."""
    path = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("nginx is not installed; .ci/run installs it")
        pytest.skip("nginx is not installed")
    return path


class Nginx:
    """A running nginx in front of instances on ports of 127.0.0.1."""

    def __init__(self, binary: str, folder: Path, ports: Collection[int], port: int) -> None:
        self._binary = binary
        self._folder = folder
        self._ports = list(ports)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @classmethod
    @contextmanager
    def started(
        cls, *ports: int, port: int | None = None, changes: Mapping[str, str] | None = None
    ) -> Iterator["Nginx"]:
        """In front of `ports`; `changes` are made in the configuration's text, to wait less for a time-out."""
        folder = Path(tempfile.mkdtemp(prefix="hp-nginx-"))
        try:
            nginx = cls(nginx_path(), folder, ports, port or free_port())
            nginx._configure(changes or {})
            with (folder / "log").open("w") as log:
                process = subprocess.Popen([*nginx._command, "-g", "daemon off;"], stdout=log, stderr=log)
                try:
                    nginx._wait(process)
                    yield nginx
                finally:
                    process.terminate()
                    process.wait(10)
        finally:
            shutil.rmtree(folder)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def access_log(self) -> str:
        return (self._folder / "access").read_text()

    @property
    def _command(self) -> list[str]:
        return [self._binary, "-e", "stderr", "-c", str(self._folder / "nginx.conf")]

    def take_out(self, *ports: int) -> None:
        """Send nothing more to the instances on `ports`; without any, all are in again."""
        self._write_upstream(down=ports)
        old = psutil.Process(int((self._folder / "nginx.pid").read_text())).children()
        subprocess.run([*self._command, "-s", "reload"], check=True, capture_output=True)
        # Those that know the old list end when they have answered what they have.
        psutil.wait_procs(old, timeout=30)

    def _configure(self, changes: Mapping[str, str]) -> None:
        shutil.copy(DEPLOYED / "proxy.conf", self._folder)
        text = (DEPLOYED / "nginx.conf").read_text()
        root = "user root;\n" if os.geteuid() == 0 else ""
        ours = {
            "/tmp/nginx/": f"{self._folder}/",  # noqa: S108 - what the file says.
            "listen 8080": f"listen 127.0.0.1:{self.port}",
            "worker_processes auto": f"{root}worker_processes 1",
            "/dev/stdout": str(self._folder / "access"),
            "/dev/stderr": "stderr",
        }
        for old, new in {**ours, **changes}.items():
            assert old in text, f"deploy/nginx/nginx.conf has no {old!r} any more"
            text = text.replace(old, new)
        (self._folder / "nginx.conf").write_text(text)
        self._write_upstream()

    def _write_upstream(self, down: Collection[int] = ()) -> None:
        text = (DEPLOYED / "upstream.conf").read_text()
        options = re.search(r"server web-1:8000(.*);", text)
        assert options is not None
        lines = [f"    server 127.0.0.1:{port}{options[1]}{' down' if port in down else ''};" for port in self._ports]
        text, replaced = re.subn(r"(    server .*;\n)+", "\n".join(lines) + "\n", text)
        assert replaced == 1
        (self._folder / "upstream.conf").write_text(text)

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"nginx ended:\n{self.log}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
