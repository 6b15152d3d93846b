"""How much each process of the service keeps in memory, from fault to fault."""

from statistics import median
from typing import Final

from chaos.installation import INSTANCES, WORKERS, Installation

GROWTH_MIB: Final = 40
"""By which a process may have grown since those of its kind were warm."""


class Memory:
    """Readings by process, over all of its starts."""

    def __init__(self, here: Installation) -> None:
        self._here = here
        self._readings: dict[str, list[float]] = {}

    def read(self) -> None:
        for name, part in self._here.parts.items():
            used = part.memory_mib
            if used is not None:
                self._readings.setdefault(name, []).append(used)

    def grown(self) -> list[str]:
        """Those that have grown by more than they may."""
        told = []
        for kind in (INSTANCES, WORKERS):
            warm = median(value for name in kind for value in self._readings[name][:4])
            for name in kind:
                now = self._readings[name][-1]
                if now > warm + GROWTH_MIB:
                    told.append(f"{name} uses {now:.0f} MiB, and its kind {warm:.0f} MiB when it was warm")
        return told

    def summary(self) -> list[str]:
        return [
            f"{name}: {values[0]:.0f} MiB first, {max(values):.0f} at most, {values[-1]:.0f} last; "
            f"started {self._here.parts[name].starts} times"
            for name, values in self._readings.items()
        ]
