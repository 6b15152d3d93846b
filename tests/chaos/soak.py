"""Ten minutes of load without a fault, and nothing has grown: `make soak`. No part of the suite."""

import asyncio
import os
from statistics import median

import psutil

from chaos.account import Account
from chaos.campaign import Campaign
from chaos.installation import Installation

SECONDS = float(os.environ.get("HARDPOINT_SOAK_SECONDS", "600"))
# Until pools, caches and the interpreter's arenas have their size.
WARM = 0.25
_EVERY_SECONDS = 5.0
# What is left of one, as a share of the whole.
_WINDOW = 0.15
GROWTH_MIB = 6.0
GROWTH_FILES = 8


class Gauge:
    """How much each process uses, over time."""

    def __init__(self, here: Installation) -> None:
        self._here = here
        self.memory: dict[str, list[float]] = {}
        self.files: dict[str, list[float]] = {}

    def read(self) -> None:
        for name, part in self._here.parts.items():
            process = psutil.Process(part.pid)
            self.memory.setdefault(name, []).append(process.memory_info().rss / 2**20)
            self.files.setdefault(name, []).append(float(process.num_fds()))


def begin_and_end(values: list[float]) -> tuple[float, float]:
    """The median just after everything was warm, and that of the end."""
    window = max(1, round(len(values) * _WINDOW))
    warm = values[round(len(values) * WARM) :]
    return median(warm[:window]), median(warm[-window:])


async def test_nothing_grows(installation: Installation, account: Account) -> None:
    account.title = f"A soak of {SECONDS:.0f} seconds"
    gauge = Gauge(installation)
    async with Campaign.begun(installation, account, seed=0) as campaign:
        await campaign.run([])
        ends = account.seconds + SECONDS
        while account.seconds < ends:
            gauge.read()
            await asyncio.sleep(_EVERY_SECONDS)
        await campaign.limits.probe(exactly=True)
        await campaign.finish(patiently=True)
        print(f"\n{campaign.summary()}")  # noqa: T201 - the figures, for who runs it by hand.
    assert not campaign.ledger.unavailable
    for name in installation.parts:
        memory, files = begin_and_end(gauge.memory[name]), begin_and_end(gauge.files[name])
        print(f"{name}: {memory[0]:.1f} to {memory[1]:.1f} MiB, {files[0]:.0f} to {files[1]:.0f} files")  # noqa: T201
        assert memory[1] - memory[0] < GROWTH_MIB, f"{name} has grown"
        assert files[1] - files[0] < GROWTH_FILES, f"{name} has opened more and more"
