"""Two instances behind nginx are replaced one after the other under load, and nobody notices."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import httpx2
import pytest

from support.nginx import Nginx
from support.servers import PostgresServer, ValkeyServer, free_port
from support.service import Service, run_cli

GOAL = 20


class Load:
    """Clients that read, and clients that write, each request on a connection of its own, until they are stopped."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            limits=httpx2.Limits(max_keepalive_connections=0),
            timeout=30,
        )
        self.reads = 0
        self.written: list[int] = []
        self.failures: list[str] = []
        self._writing = threading.Event()
        self._stopped = threading.Event()
        self._writing.set()
        self._threads = [threading.Thread(target=work) for work in (self._read, self._read, self._write)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def stop_writing(self) -> None:
        self._writing.clear()
        self._threads[-1].join()

    def goes_on(self, *, writes: bool = True) -> None:
        """Wait until so many more have been answered, or one has failed."""
        reads, written = self.reads, len(self.written)
        while not self.failures and (self.reads < reads + GOAL or (writes and len(self.written) < written + GOAL)):
            self._stopped.wait(0.01)

    def _read(self) -> None:
        while not self._stopped.is_set():
            if self._answered("GET", 200) is not None:
                self.reads += 1

    def _write(self) -> None:
        while self._writing.is_set() and not self._stopped.is_set():
            answer = self._answered("POST", 201, json={"title": "Under load", "body": "x" * 20_000})
            if answer is not None:
                self.written.append(answer.json()["id"])

    def _answered(self, method: str, status: int, **options: object) -> httpx2.Response | None:
        # A bounded load, which leaves something of the machine to the instance that starts.
        self._stopped.wait(0.02)
        try:
            answer = self._client.request(method, "/posts", **options)
        except httpx2.HTTPError as error:
            self.failures.append(f"{method}: {error!r}")
            return None
        if answer.status_code == status:
            return answer
        self.failures.append(f"{method}: {answer.status_code} {answer.text[:200]}")
        return None


@pytest.fixture
def settings(postgres_server: PostgresServer, valkey: ValkeyServer) -> Iterator[dict[str, str]]:
    url = postgres_server.create_database()
    yield {
        "environment": "test",
        "secret_key": "a secret of thirty-two bytes or more",
        "database_url": url,
        "redis_url": valkey.url,
        "rate_limit": "off",
        "trusted_proxies": "127.0.0.1",
    }
    postgres_server.drop_database(url)


def has_answered(service: Service) -> bool:
    return any(event.get("path") == "/posts" for event in service.events)


def test_instances_are_replaced_under_load_without_one_failed_request(settings: dict[str, str], tmp_path: Path) -> None:
    ports, nginx_port = [free_port(), free_port()], free_port()
    settings["public_url"] = f"http://127.0.0.1:{nginx_port}"
    done = run_cli("db", "upgrade", cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    folders = [tmp_path / str(number) for number in range(2)]
    with ExitStack() as stack:
        services = []
        for folder, port in zip(folders, ports, strict=True):
            folder.mkdir()
            services.append(stack.enter_context(Service.started(folder, port=port, **settings)))
        nginx = stack.enter_context(Nginx.started(*ports, port=nginx_port))
        account = services[0].create("user")
        account.client.close()
        with Load(nginx.url, account.access_token) as load:
            load.goes_on()
            for service, folder, port in zip(services, folders, ports, strict=True):
                assert has_answered(service)
                nginx.take_out(port)
                service.stop()
                assert "drained" in [event["event"] for event in service.events]
                assert "Traceback" not in service.log
                again = stack.enter_context(Service.started(folder, port=port, **settings))
                nginx.take_out()
                load.goes_on()
                assert has_answered(again)
            assert load.failures == []
            # One that is killed without a word: what only reads is tried at the other.
            load.stop_writing()
            again.process.kill()
            load.goes_on(writes=False)
        assert load.failures == []
        with closing(httpx2.Client(base_url=nginx.url)) as client:
            for post_id in load.written:
                answer = client.get(f"/posts/{post_id}", headers={"Authorization": f"Bearer {account.access_token}"})
                assert answer.status_code == 200
