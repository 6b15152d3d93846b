"""What logins cost everybody else, and what their time tells a stranger.

    make bench-auth                                        both, on SQLite
    make bench-auth ARGS="--only enumeration --samples 300"
    make bench-auth ARGS="--database postgresql"

Each runs the reference service as a process of its own.

`health`: fifty clients log in without a pause, from a process of their own, while another one asks `/health/live`; told
are its times beside those of the idle service in the same run.

`enumeration`: pairs of requests that must look alike, one about an account that exists and one about none, in turn, so
that what else the machine does meets both. Told are the medians, their difference, and how often a stranger would be
right who guesses by which side of the joint median an answer's time is: 50 % is a coin.
"""

import argparse
import asyncio
import http.client
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

import httpx2

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.databases import PostgresServer  # noqa: E402 - the tests' servers, found by the line above.
from support.service import PASSWORD, Service, run_cli  # noqa: E402

CLIENTS = 50
OPEN = {
    "environment": "test",
    "rate_limit": "off",
    "login_rate_limit": "off",
    "email_verification": "optional",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


@contextmanager
def serving(database: str, **settings: str) -> Iterator[Service]:
    """The reference service, without limits."""
    with tempfile.TemporaryDirectory() as folder:
        if database == "sqlite":
            with Service.started(Path(folder), **OPEN, **settings) as service:
                yield service
            return
        with PostgresServer.started() as server:
            chosen = {**OPEN, **settings, "database_url": server.create_database()}
            done = run_cli("db", "upgrade", cwd=Path(folder), **chosen)
            assert done.returncode == 0, done.stderr
            with Service.started(Path(folder), **chosen) as service:
                yield service


def asked(connection: http.client.HTTPConnection, method: str, path: str, body: str | None, **headers: str) -> float:
    """The milliseconds until the whole answer is there."""
    began = time.perf_counter()
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status < 500, answer.status
    return (time.perf_counter() - began) * 1_000


def _connection(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)


# What logins cost everybody else


def log_in_all_the_time(url: str, address: str, seconds: float, done: "multiprocessing.Queue[tuple[int, int]]") -> None:
    """Fifty clients, each with its next login as soon as the last one is answered; in a process of their own."""

    async def client_of_many(client: httpx2.AsyncClient, until: float) -> tuple[int, int]:
        good = refused = 0
        while time.monotonic() < until:
            answer = await client.post("/auth/login", data={"username": address, "password": PASSWORD})
            good += answer.status_code == 200
            refused += answer.status_code == 503
        return good, refused

    async def run() -> tuple[int, int]:
        limits = httpx2.Limits(max_connections=CLIENTS)
        async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            until = time.monotonic() + seconds
            results = await asyncio.gather(*(client_of_many(client, until) for _ in range(CLIENTS)))
        return sum(good for good, _ in results), sum(refused for _, refused in results)

    done.put(asyncio.run(run()))


def _told(name: str, times: list[float]) -> None:
    ordered = sorted(times)
    p99 = ordered[int(len(ordered) * 0.99)]
    median = statistics.median(ordered)
    print(f"  {name:28} median {median:7.2f} ms   p99 {p99:7.2f} ms   most {ordered[-1]:7.2f} ms   of {len(times)}")


def health(database: str, seconds: float) -> None:
    print(f"/health/live beside {CLIENTS} parallel logins, on {database}")
    with serving(database) as service:
        address = service.new_address()
        with service.client() as client:
            client.post("/auth/register", json={"email": address, "password": PASSWORD}).raise_for_status()
        connection = _connection(service.url)

        def poll(until: Callable[[], bool]) -> list[float]:
            times = []
            while not until():
                times.append(asked(connection, "GET", "/health/live", None))
                time.sleep(0.005)
            return times

        end = time.monotonic() + seconds / 2
        idle = poll(lambda: time.monotonic() > end)
        spawn = multiprocessing.get_context("spawn")
        done: multiprocessing.Queue[tuple[int, int]] = spawn.Queue()
        load = spawn.Process(target=log_in_all_the_time, args=(service.url, address, seconds, done))
        load.start()
        time.sleep(2)  # Until the process has started and every client is in line.
        busy = poll(lambda: not done.empty())
        good, refused = done.get()
        load.join()
        connection.close()
    _told("idle", idle)
    _told(f"{CLIENTS} logins at once", busy)
    print(f"  {good / seconds:.1f} logins a second; {refused} were told to come back")


# What their time tells a stranger


def enumeration(database: str, samples: int) -> None:
    print(f"Pairs that must take the same time, on {database}; {samples} of each")
    with serving(database) as service, service.client() as client:
        numbers = count(1)

        def registered() -> str:
            address = f"known{next(numbers)}@example.com"
            client.post("/auth/register", json={"email": address, "password": PASSWORD}).raise_for_status()
            return address

        def unknown() -> str:
            return f"unknown{next(numbers)}@example.com"

        admin = service.create("admin")
        disabled = registered()
        with service.client() as other:
            form = {"username": disabled, "password": PASSWORD}
            token = other.post("/auth/login", data=form).json()["access_token"]
            own = other.get("/users/me", headers={"Authorization": f"Bearer {token}"}).json()
        admin.client.patch(f"/users/{own['id']}", json={"is_active": False}).raise_for_status()
        admin.client.close()
        known = registered()
        connection = _connection(service.url)

        def log_in(address: str) -> float:
            return asked(
                connection, "POST", "/auth/login", urlencode({"username": address, "password": "x" * 20}), **FORM
            )

        def register(address: str) -> float:
            body = f'{{"email": "{address}", "password": "{PASSWORD}"}}'
            return asked(connection, "POST", "/auth/register", body, **JSON)

        def forget(address: str) -> float:
            return asked(connection, "POST", "/auth/forgot-password", f'{{"email": "{address}"}}', **JSON)

        pairs: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
            "log in: a known address, unknown": (lambda: log_in(known), lambda: log_in(unknown())),
            "log in: a disabled account, unknown": (lambda: log_in(disabled), lambda: log_in(unknown())),
            "register: a known address, unknown": (lambda: register(known), lambda: register(unknown())),
            "forgot: a known address, unknown": (lambda: forget(known), lambda: forget(unknown())),
            "forgot: a disabled account, unknown": (lambda: forget(disabled), lambda: forget(unknown())),
        }
        for name, (one, other_one) in pairs.items():
            first: list[float] = []
            second: list[float] = []
            for number in range(samples):
                for times, ask in ((first, one), (second, other_one))[:: 1 if number % 2 else -1]:
                    times.append(ask())
                    time.sleep(0.002)
            _compared(name, first, second)
        connection.close()


def _compared(name: str, first: list[float], second: list[float]) -> None:
    one, other = statistics.median(first), statistics.median(second)
    middle = statistics.median([*first, *second])
    slower = sum(value > middle for value in first) + sum(value <= middle for value in second)
    right = max(slower, len(first) + len(second) - slower) / (len(first) + len(second))
    print(f"  {name:38} {one:7.2f} ms {other:7.2f} ms   {(one / other - 1):+7.1%}   guessed {right:5.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["health", "enumeration"])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--samples", type=int, default=200)
    options = parser.parse_args()
    if options.only != "enumeration":
        health(options.database, options.seconds)
    if options.only != "health":
        enumeration(options.database, options.samples)


if __name__ == "__main__":
    main()
