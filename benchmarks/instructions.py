"""Instructions that a request of a variant takes, server included: the same in each run, however busy the machine is.

    make bench-instructions
    make bench-instructions ARGS="http.bare http.stack"

Each variant runs in a process of its own inside of valgrind's callgrind, which counts. Requests come from connections
in memory instead of sockets, so what the kernel does is not in it. Neither is what waits for a while, such as log lines
that are written together: time passes as ever while the program runs fifty times slower.
"""

import argparse
import asyncio
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "tests"))

from apps.accounts import EMAIL, PASSWORD  # noqa: E402 - beside this file, found by the lines above.

from support.servers import ValkeyServer  # noqa: E402

VARIANTS = [
    "http.bare",
    "http.raw_asgi",
    "http.compiled_short",
    *(f"http.{part}" for part in ["request_id", "timing", "access_log", "security_headers", "cors", "errors"]),
    "http.rate_limit",
    "http.body_limit",
    "http.stack",
    "http.stack_compiled",
    "http.auth",
    "http.auth_compiled",
    "limits.without",
    "limits.hardpoint_memory",
    "limits.hardpoint_valkey",
]
CONNECTIONS = 32
# A few are enough, as each takes the same; more would let what is remembered for seconds grow old.
ROUNDS = 4


class Connection(asyncio.Transport):
    """What uvicorn writes to."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)})
        self.received = b""
        self.answered = asyncio.Event()

    def write(self, data: Any) -> None:
        self.received += bytes(data)
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head) if end else None
        if length is not None and len(body) == int(length[1]):
            self.answered.set()

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def ask(protocols: dict[Connection, Any], request: bytes) -> bytes:
    """Send the request on every connection at once; the body of the last one's answer."""
    for connection, protocol in protocols.items():
        connection.received = b""
        connection.answered.clear()
        protocol.data_received(request)
    for connection in protocols:
        await connection.answered.wait()
        assert connection.received.startswith(b"HTTP/1.1 200"), connection.received
    return connection.received.partition(b"\r\n\r\n")[2]


async def serve(variant: str) -> None:
    """Answer requests, some of them while callgrind looks."""
    # Here, so that the process that starts the others imports nothing.
    from uvicorn import Config
    from uvicorn.lifespan.on import LifespanOn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import ServerState

    module, _, factory = f"apps.{variant}".rpartition(".")
    app = getattr(importlib.import_module(module), factory)()
    config = Config(app, log_level="warning", access_log=False)
    config.load()
    lifespan = LifespanOn(config)
    await lifespan.startup()
    state = ServerState()
    state.default_headers = [(b"date", b"Thu, 26 Nov 2026 12:00:00 GMT")]
    protocols = {Connection(): HttpToolsProtocol(config, state, lifespan.state) for _ in range(CONNECTIONS)}
    for connection, protocol in protocols.items():
        protocol.connection_made(connection)
    path = "/item" if variant.startswith("limits.") else "/items/7"
    token = ""
    if "auth" in variant:
        form = f"username={EMAIL}&password={PASSWORD.replace(' ', '+')}"
        kind = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}"
        login = f"POST /auth/login HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n\r\n{form}".encode()
        first = dict([next(iter(protocols.items()))])
        token = json.loads(await ask(first, login))["access_token"]
    credentials = f"Authorization: Bearer {token}\r\n" if token else ""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n{credentials}\r\n".encode()

    for _ in range(3):
        await ask(protocols, request)
    counting("on")
    for _ in range(ROUNDS):
        await ask(protocols, request)
    counting("off")
    for protocol in protocols.values():
        protocol.connection_lost(None)
    await lifespan.shutdown()


def counting(how: str) -> None:
    subprocess.run(["callgrind_control", "-i", how, str(os.getpid())], check=True, stdout=subprocess.DEVNULL)


def count(variant: str) -> int:
    """Instructions for a request."""
    with TemporaryDirectory(prefix="hardpoint-bench-") as folder:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/callgrind"]
        environment = {"BENCHMARK_LOG": f"{folder}/requests.log", "BENCHMARK_FOLDER": folder, "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [*command, sys.executable, __file__, "--inside", variant],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        sys.exit(f"{variant}: {done.stderr[-2000:]}")
    return int(found[1]) // (ROUNDS * CONNECTIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", default=VARIANTS, help="of `apps`; each a module and a factory")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        import uvloop

        uvloop.run(serve(arguments.inside))
        return
    if shutil.which("callgrind_control") is None:
        sys.exit("Instructions are counted by valgrind, which is not installed (Debian: apt install valgrind)")
    with ExitStack() as stack:
        if any("valkey" in variant for variant in arguments.variants):
            valkey = stack.enter_context(ValkeyServer.started())
            os.environ["BENCHMARK_REDIS_URL"] = valkey.url.replace("valkey://", "redis://")
        print("| variant | thousand instructions for a request |\n|---|---|")
        for variant in arguments.variants:
            print(f"| {variant} | {count(variant) / 1_000:.0f} |", flush=True)


if __name__ == "__main__":
    main()
