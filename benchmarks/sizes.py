"""What a request costs against the size of things: middlewares, routes, clients, bodies, processes.

    make bench-sizes                       every sweep, and the plots
    make bench-sizes ARGS="--only parts"   one of them

Processor time of the server for each request, the median of rounds in which sizes and variants take turns; for clients
and processes requests a second, of which there are two cores for the server and the load together.
"""

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from serving import Load, load, serving  # noqa: E402 - beside this file.

Sweep = Callable[[int, int], dict[str, dict[int, float]]]


def cpu(
    variants: dict[str, str], sizes: list[int], rounds: int, seconds: int, **options: object
) -> dict[str, dict[int, float]]:
    def one(variant: str, size: int) -> Load:
        with serving(variant, environment={"BENCHMARK_SIZE": str(size)}) as server:
            load(server, seconds=1)
            return load(server, seconds=seconds, **options)  # type: ignore[arg-type]

    found: dict[str, dict[int, list[float]]] = {name: {size: [] for size in sizes} for name in variants}
    for number in range(rounds):
        for size in sizes:
            for name, variant in variants.items():
                found[name][size].append(one(variant, size).cpu_us)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return {name: {size: statistics.median(values) for size, values in by.items()} for name, by in found.items()}


def parts(rounds: int, seconds: int) -> dict[str, dict[int, float]]:
    """Middlewares that add a header each, in µs of processor time."""
    variants = {"parts": "sizes.parts", "plain ASGI": "sizes.plain", "BaseHTTPMiddleware": "sizes.base_http"}
    return cpu(variants, [0, 1, 5, 10, 20], rounds, seconds)


def routes(rounds: int, seconds: int) -> dict[str, dict[int, float]]:
    """Routes before the one that is asked for, in µs of processor time."""
    variants = {
        "FastAPI": "sizes.routes",
        "compiled": "sizes.routes_compiled",
        "compiled, the short way": "sizes.routes_short",
    }
    return cpu(variants, [1, 10, 100, 1_000], rounds, seconds)


def bodies(rounds: int, seconds: int) -> dict[str, dict[int, float]]:
    """JSON bodies of so many bytes, in µs of processor time."""
    found: dict[str, dict[int, list[float]]] = {"FastAPI": {}, "compiled": {}}
    for _ in range(rounds):
        for size in [100, 1_000, 10_000, 100_000, 1_000_000]:
            item = {"id": 1, "name": "a thing", "price": 3.5}
            text = json.dumps([item] * max(1, size // len(json.dumps(item))))
            with NamedTemporaryFile("w", suffix=".lua") as script:
                script.write(f"wrk.method='POST'; wrk.body='{text}'; wrk.headers['Content-Type']='application/json'")
                script.flush()
                for name, variant in (("FastAPI", "sizes.body"), ("compiled", "sizes.body_compiled")):
                    with serving(variant) as server:
                        load(server, "/items", seconds=1, connections=4, script=Path(script.name))
                        one = load(server, "/items", seconds=seconds, connections=4, script=Path(script.name))
                        found[name].setdefault(size, []).append(one.cpu_us)
    return {name: {size: statistics.median(values) for size, values in by.items()} for name, by in found.items()}


def rates(variants: dict[str, str], rounds: int, by: Callable[[str], dict[int, float]]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, list[float]]] = {name: {} for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            for size, rate in by(variant).items():
                found[name].setdefault(size, []).append(rate)
    return {
        name: {size: statistics.median(values) for size, values in by_size.items()} for name, by_size in found.items()
    }


VARIANTS = {"bare": "http.bare", "stack": "http.stack", "stack, compiled": "http.stack_compiled"}


def clients(rounds: int, seconds: int) -> dict[str, dict[int, float]]:
    """Clients at once, in requests a second."""

    def by(variant: str) -> dict[int, float]:
        with serving(variant) as server:
            load(server, seconds=1)
            return {
                count: load(server, seconds=seconds, connections=count).requests_per_second for count in (1, 4, 16, 64)
            }

    return rates(VARIANTS, rounds, by)


def workers(rounds: int, seconds: int) -> dict[str, dict[int, float]]:
    """Processes that serve, on all cores together with the load, in requests a second."""

    def by(variant: str) -> dict[int, float]:
        found = {}
        for count in (1, 2, 4):
            with serving(variant, workers=count, core=None) as server:
                load(server, seconds=1, connections=64)
                found[count] = load(server, seconds=seconds, connections=64).requests_per_second
        return found

    return rates(VARIANTS, rounds, by)


SWEEPS: dict[str, Sweep] = {"parts": parts, "routes": routes, "bodies": bodies, "clients": clients, "workers": workers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SWEEPS, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("The benchmarks load the servers with wrk, which is not installed (Debian: apt install wrk)")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    for name in arguments.only or list(SWEEPS):
        found = SWEEPS[name](arguments.rounds, arguments.seconds)
        sizes = list(next(iter(found.values())))
        print(f"\n| {name}: {SWEEPS[name].__doc__} | {' | '.join(map(str, sizes))} |\n|---|{'---|' * len(sizes)}")
        for variant, by_size in found.items():
            print(f"| {variant} | {' | '.join(f'{value:.0f}' for value in by_size.values())} |")
        (results / f"sizes-{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
