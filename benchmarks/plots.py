"""Pictures of what the other benchmarks have found, into docs/images.

make bench-plots
"""

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
RESULTS, IMAGES = HERE / "results", HERE.parent / "docs" / "images"
OURS, THEIRS, BASE = "#1f6f8b", "#c9c9c9", "#7a7a7a"
TITLES = {
    "grounds": "One route, nothing around it",
    "parts": "One part at a time",
    "stack": "The same work around one route",
    "auth": "The same, and a token, its user and a role",
    "limits": "One limit, in memory and on Valkey",
}
AXES = {
    "parts": ("middlewares that add a header each", "µs of processor time for a request"),
    "routes": ("routes before the one that is asked for", "µs of processor time for a request"),
    "bodies": ("bytes of JSON", "µs of processor time for a request"),
    "clients": ("clients at once", "requests a second"),
    "workers": ("processes, with the load on the same two cores", "requests a second"),
}


def medians(report: dict[str, Any]) -> dict[str, float]:
    variants = report["variants"]
    base = [one["requests_per_second"] for one in next(iter(variants.values()))]
    return {
        name: statistics.median(one["requests_per_second"] / bare for one, bare in zip(loads, base, strict=True))
        for name, loads in variants.items()
    }


def bars(group: str, report: dict[str, Any]) -> None:
    ratios = medians(report)
    names = list(ratios)[::-1]
    bare = next(iter(ratios))
    colours = [
        BASE
        if n == bare or n.partition(".")[2].startswith("headers")
        else THEIRS
        if "peers" in n or ("limits" in n and "hardpoint" not in n)
        else OURS
        for n in names
    ]
    figure, axes = plt.subplots(figsize=(7, 0.36 * len(names) + 1), layout="constrained")
    drawn = axes.barh(
        [name.partition(".")[2].replace("_", " ") for name in names], [ratios[n] for n in names], color=colours
    )
    axes.bar_label(drawn, fmt="%.2f", padding=3)
    axes.set_xlabel("requests a second, of the bare application's")
    axes.set_title(TITLES[group])
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(IMAGES / f"bench-{group}.png", dpi=110)
    plt.close(figure)


def lines(sweep: str, found: dict[str, dict[str, float]]) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, by_size in found.items():
        axes.plot([max(int(size), 0.5) for size in by_size], list(by_size.values()), marker="o", label=name)
    if sweep in {"routes", "bodies"}:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_ylim(bottom=None if sweep in {"routes", "bodies"} else 0)
    axes.set_xlabel(AXES[sweep][0])
    axes.set_ylabel(AXES[sweep][1])
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / f"bench-sizes-{sweep}.png", dpi=110)
    plt.close(figure)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for group in TITLES:
        if (path := RESULTS / f"{group}.json").exists():
            bars(group, json.loads(path.read_text()))
    for sweep in AXES:
        if (path := RESULTS / f"sizes-{sweep}.json").exists():
            lines(sweep, json.loads(path.read_text()))


if __name__ == "__main__":
    main()
