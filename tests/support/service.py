"""The service as a process of its own, and what a new user does with it."""

import email
import email.policy
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

import httpx2

from support.ports import free_port

PASSWORD = "correct horse battery staple"
PREFIX = "HARDPOINT_"
_numbers = count(1)
# Every client would read all certificates of the machine, 40 ms of work, to speak plain HTTP.
_CERTIFICATES = ssl.create_default_context()


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without any setting of the service, plus `settings`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**clean, **{f"{PREFIX}{name.upper()}": value for name, value in settings.items()}}


def run_cli(*arguments: str, cwd: Path, stdin: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
    """`hardpoint` with these arguments and settings."""
    return subprocess.run(
        [sys.executable, "-m", "hardpoint.cli", *arguments],
        cwd=cwd,
        env=environment(**settings),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass
class Account:
    """Somebody who is logged in."""

    id: int
    email: str
    access_token: str
    refresh_token: str
    client: httpx2.Client


class Service:
    """A running service."""

    def __init__(self, folder: Path, process: "subprocess.Popen[str]", url: str, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.process = process
        self.url = url
        self.settings = dict(settings)
        self._mails: dict[Path, tuple[str, Any]] = {}

    @classmethod
    @contextmanager
    def started(cls, folder: Path, *arguments: str, port: int | None = None, **settings: str) -> Iterator["Service"]:
        port = port or free_port()
        with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
            process = _start(folder, port, arguments, settings, out, err)
            service = cls(folder, process, f"http://127.0.0.1:{port}", settings)
            try:
                service.wait_until_live()
                yield service
            finally:
                service.stop()

    def wait_until_live(self) -> None:
        deadline = time.monotonic() + 60
        # One client: making one costs as much as a good part of the service's start.
        with self.client() as client:
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise RuntimeError(f"The service ended:\n{self.log}")
                try:
                    if client.get("/health/live", timeout=5).status_code == 200:
                        return
                except httpx2.TransportError:
                    time.sleep(0.05)
        raise RuntimeError(f"The service did not start:\n{self.log}")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait(10)

    # new: if reference
    def kill_and_start(self, number: int = signal.SIGKILL) -> None:
        """End the process with this signal, and start another one on the same port with the same settings."""
        self.process.send_signal(number)
        self.process.wait(60)
        port = httpx2.URL(self.url).port
        assert port is not None
        with (self.folder / "stdout").open("a") as out, (self.folder / "stderr").open("a") as err:
            self.process = _start(self.folder, port, (), self.settings, out, err)
        self.wait_until_live()

    @property
    def output(self) -> str:
        return (self.folder / "stdout").read_text()

    # new: end if
    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log's lines that are whole."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=30, verify=_CERTIFICATES, **options)

    def mails(self, address: str) -> list[Any]:
        # Each is written whole and read once: there are hundreds of them, and who waits for one asks again and again.
        files = sorted((self.folder / ".hardpoint" / "mail").glob("*.eml"))
        for file in files:
            if file not in self._mails:
                message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
                self._mails[file] = str(message["To"]), message
        return [message for recipient, message in map(self._mails.__getitem__, files) if recipient == address]

    def mail(self, address: str, number: int = 1) -> Any:
        """The mail with this number to `address`, waiting for it."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            mails = self.mails(address)
            if len(mails) >= number:
                return mails[number - 1]
            time.sleep(0.05)
        raise AssertionError(f"no mail number {number} to {address}")

    def token_in_mail(self, address: str, number: int = 1) -> str:
        match = re.search(r"\?token=([A-Za-z0-9_.-]+)", self.mail(address, number).get_content())
        assert match is not None
        return match[1]

    def new_address(self) -> str:
        return f"user{next(_numbers)}@example.com"

    def sign_up(self, address: str | None = None) -> Account:
        """Register, read the mail, verify, log in: what a new user does."""
        address = address or self.new_address()
        with self.client() as client:
            body = {"email": address, "password": PASSWORD, "name": "New User"}
            assert client.post("/auth/register", json=body).status_code == 202
            token = self.token_in_mail(address)
            assert client.post("/auth/verify-email", json={"token": token}).status_code == 204
        return self.log_in(address)

    def create(self, role: str) -> Account:
        """An account made by the operator's command, logged in."""
        address = self.new_address()
        done = run_cli(
            "users", "create", "--email", address, "--role", role, cwd=self.folder, stdin=PASSWORD, **self.settings
        )
        assert done.returncode == 0, done.stderr
        return self.log_in(address)

    def log_in(self, address: str, password: str = PASSWORD) -> Account:
        with self.client() as client:
            answer = client.post("/auth/login", data={"username": address, "password": password})
            assert answer.status_code == 200, answer.text
            tokens = answer.json()
        client = self.client(headers={"Authorization": f"Bearer {tokens['access_token']}"})
        me = client.get("/users/me").json()
        return Account(me["id"], address, tokens["access_token"], tokens["refresh_token"], client)


def _start(
    folder: Path,
    port: int,
    arguments: tuple[str, ...],
    settings: Mapping[str, str],
    out: IO[str],
    err: IO[str],
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "hardpoint.cli", "serve", "--port", str(port), *arguments],
        cwd=folder,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        text=True,
    )


def check_envelope(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The envelope of an error with this status and code; every error has this shape and these headers."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert ("field_errors" in body) == (status == 422)
    if status == 401:
        assert answer.headers["www-authenticate"]
    return body
