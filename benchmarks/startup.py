"""What it costs to import and to start, and what a process weighs then and under load.

    make bench-startup

Import and start are whole processes, one after the other in turn; medians. Memory is what is resident after the start,
and after ten seconds of load.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import equal  # noqa: E402 - beside this file.
from serving import load, serving  # noqa: E402

IMPORTS = {
    "nothing": "pass",
    "fastapi": "import fastapi",
    "hardpoint": "import hardpoint",
    "middleware": "import fastapi, hardpoint.middleware",
    "errors": "import fastapi, hardpoint.errors",
    "routing": "import fastapi, hardpoint.routing",
    "lifespan": "import fastapi, hardpoint.lifespan",
    "ratelimit": "import fastapi, hardpoint.ratelimit",
    "realtime": "import fastapi, hardpoint.realtime",
    "db": "import fastapi, hardpoint.db",
    "auth": "import fastapi, hardpoint.auth",
    "jobs": "import fastapi, hardpoint.jobs",
    "litestar": "import litestar",
    "fastapi_users": "import fastapi_users",
    "hardpoint --version": "import sys; sys.argv = ['hardpoint', '--version']; from hardpoint.cli import main; main()",
}
SERVERS = ["http.bare", "http.stack", "http.auth", "peers.textbook", "peers.fastapi_users", "peers.litestar"]
ROUNDS = 9


def process_ms(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1_000


def main() -> None:
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(ROUNDS):
        for name, code in IMPORTS.items():
            found[name].append(process_ms(code))
    above_nothing = [
        {name: values[number] - found["nothing"][number] for name, values in found.items()} for number in range(ROUNDS)
    ]
    above_fastapi = [
        {name: values[number] - found["fastapi"][number] for name, values in found.items()} for number in range(ROUNDS)
    ]
    print("\n| import of | ms | ms above FastAPI's |\n|---|---|---|")
    report: dict[str, object] = {"imports": found}
    for name in IMPORTS:
        whole = statistics.median(one[name] for one in above_nothing)
        print(f"| {name} | {whole:.0f} | {statistics.median(one[name] for one in above_fastapi):+.0f} |")
    print("\n| server | start ms | MiB after the start | MiB under load |\n|---|---|---|---|")
    for variant in SERVERS:
        starts, before, after = [], [], []
        for _ in range(3):
            began = time.perf_counter()
            with serving(variant) as server:
                starts.append((time.perf_counter() - began) * 1_000)
                before.append(server.resident_kib() / 1_024)
                group = "auth" if "auth" in variant or "users" in variant else "grounds"
                load(server, seconds=10, headers=equal.check(server.root, "/items/7", group, server.log))
                after.append(server.resident_kib() / 1_024)
        row = [statistics.median(values) for values in (starts, before, after)]
        print(f"| {variant} | {row[0]:.0f} | {row[1]:.0f} | {row[2]:.0f} |")
        report[variant] = {"start_ms": starts, "mib_before": before, "mib_after": after}
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "startup.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
