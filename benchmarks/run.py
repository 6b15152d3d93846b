"""Requests per second of each variant as a share of a bare FastAPI application's, measured side by side in one run.

    make bench                                      every group, and the plots
    make bench ARGS="--group stack --rounds 9"      one of them

Each variant is a server process of its own on one core; `wrk` loads it from another. What is compared does the same
work, which is checked first. The variants take turns, round by round, so that what else the machine does meets all of
them alike, and in three processes each, because where a process happens to have its code and data makes it up to a
fifth slower for as long as it lives. What is told are medians over the rounds of the ratio to the bare application of
the same round. Absolute figures are this machine's and say nothing about yours.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "tests"))

import equal  # noqa: E402 - beside this file, and the tests' servers, found by the lines above.
from serving import Load, Server, load, serving  # noqa: E402

from support.servers import ValkeyServer  # noqa: E402

PARTS = ["request_id", "timing", "access_log", "security_headers", "cors", "errors", "rate_limit", "body_limit"]
# Those that do nothing of what is compared, and show what it could cost at least.
BASES = {
    "http.bare",
    "http.headers",
    "http.headers_compiled",
    "http.headers_steps",
    "limits.without",
    "limits.headers",
}
PROCESSES = 3
OURS = ["", "_buffered", "_compiled", "_compiled_buffered"]
GROUPS = {
    "grounds": ["http.bare", "http.raw_asgi", "http.starlette", "http.compiled", "http.compiled_short"],
    "parts": ["http.bare", *(f"http.{part}" for part in PARTS)],
    "stack": [
        "http.bare",
        "http.headers",
        "http.headers_compiled",
        *(f"http.stack{kind}" for kind in OURS),
        "peers.textbook",
        "peers.litestar",
    ],
    "auth": [
        "http.bare",
        "http.headers_steps",
        *(f"http.auth{kind}" for kind in [*OURS, "_uncached"]),
        "peers.textbook_auth",
        "peers.fastapi_users",
        "peers.litestar_auth",
        "peers.litestar_auth_user",
    ],
    "limits": [
        "limits.without",
        "limits.headers",
        *(
            f"limits.{library}_{store}"
            for store in ("memory", "valkey")
            for library in ("hardpoint", "hardpoint_dependency", "limits", "fastapi_limiter", "slowapi")
        ),
    ],
}


def measure(group: str, *, rounds: int, seconds: int, connections: int) -> dict[str, list[Load]]:
    """Every variant of a group, taking turns. All are started once; those whose turn it is not are stopped."""
    path = "/item" if group == "limits" else "/items/7"
    for place, variant in enumerate(GROUPS[group]):
        check(group, variant, path, place)
    found: dict[str, list[Load]] = {variant: [] for variant in GROUPS[group]}
    with ExitStack() as stack:
        started: dict[str, list[tuple[Server, dict[str, str]]]] = {variant: [] for variant in found}
        for variant in list(found) * PROCESSES:
            server = stack.enter_context(serving(variant))
            is_of_users = group == "auth" and variant not in BASES
            headers = {"Authorization": f"Bearer {equal.log_in(server.root)}"} if is_of_users else {}
            load(server, path, seconds=1, connections=connections, headers=headers)
            server.stop(signal.SIGSTOP)
            started[variant].append((server, headers))
        for number in range(rounds):
            for variant, loads in found.items():
                server, headers = started[variant][number % PROCESSES]
                server.stop(signal.SIGCONT)
                loads.append(load(server, path, seconds=seconds, connections=connections, headers=headers))
                server.stop(signal.SIGSTOP)
                # A log that grows without end would fill the disk.
                os.truncate(server.log, 0)
            print(f"{group}: round {number + 1} of {rounds}", file=sys.stderr)
    return found


def check(group: str, variant: str, path: str, place: int) -> None:
    """Whether a variant does what it is compared for."""
    does_its_work = variant not in BASES
    if group == "limits" and does_its_work:
        # Another rate for each is another bucket for each.
        with serving(variant, environment={"BENCHMARK_RATE": str(5 + place)}) as strict:
            equal.check_limit(strict.root, path, 5 + place)
    with serving(variant) as server:
        checked_as = group if does_its_work else "headers" if "headers" in variant else "grounds"
        equal.check(server.root, path, checked_as, server.log)
        if group == "parts" and does_its_work:
            equal.check_part(server.root, path, variant.partition(".")[2], server.log)


def ratios(found: dict[str, list[Load]], of: str) -> dict[str, list[float]]:
    """Each round's ratio to the first variant of the same round; of processor time its inverse."""
    bare = next(iter(found.values()))
    return {
        variant: [
            getattr(one, of) / getattr(base, of) if of != "cpu_us" else base.cpu_us / one.cpu_us
            for one, base in zip(loads, bare, strict=True)
        ]
        for variant, loads in found.items()
    }


def tell(group: str, found: dict[str, list[Load]]) -> None:
    by_rate, by_cpu = ratios(found, "requests_per_second"), ratios(found, "cpu_us")
    base = statistics.median(one.cpu_us for one in next(iter(found.values())))
    print(f"\n| {group} | of bare | of bare, by processor time | added µs | requests/s | p99 ms |")
    print("|---|---|---|---|---|---|")
    for variant, loads in found.items():
        added = statistics.median(one.cpu_us for one in loads) - base
        print(
            f"| {variant} | {statistics.median(by_rate[variant]):.2f} | {statistics.median(by_cpu[variant]):.2f} "
            f"| {added:+.0f} | {statistics.median(one.requests_per_second for one in loads):.0f} "
            f"| {statistics.median(one.p99_ms for one in loads):.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=GROUPS, action="append", help="which variants; every group by default")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=1, help="of one measurement")
    parser.add_argument("--connections", type=int, default=32)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("The benchmarks load the servers with wrk, which is not installed (Debian: apt install wrk)")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    with ValkeyServer.started() as valkey:
        os.environ["BENCHMARK_REDIS_URL"] = valkey.url.replace("valkey://", "redis://")
        for group in arguments.group or list(GROUPS):
            options = {"rounds": arguments.rounds, "seconds": arguments.seconds, "connections": arguments.connections}
            found = measure(group, **options)
            tell(group, found)
            report = {variant: [asdict(one) for one in loads] for variant, loads in found.items()}
            (results / f"{group}.json").write_text(json.dumps({**options, "variants": report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
