"""How many jobs have run, in a file that the worker and the benchmark both map into memory.

A counter for each job, so that it is known which ran twice and which never did; and when the first and the last ran.
"""

import mmap
import os
import struct
import threading
import time
from pathlib import Path

HEADER = struct.Struct("=Qdd")
PATH = "BENCHMARK_TALLY"


class Tally:
    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._lock = threading.Lock()

    @classmethod
    def fresh(cls, path: Path, jobs: int) -> "Tally":
        path.write_bytes(HEADER.pack(0, 0.0, 0.0) + bytes(jobs))
        os.environ[PATH] = str(path)
        return cls(str(path))

    def count(self, number: int) -> None:
        # Libraries run jobs in threads.
        with self._lock:
            count, first, _ = HEADER.unpack_from(self._map)
            now = time.monotonic()
            HEADER.pack_into(self._map, 0, count + 1, first or now, now)
            self._map[HEADER.size + number] += 1

    @property
    def done(self) -> int:
        """How many jobs have run, each counted once."""
        return sum(runs > 0 for runs in self.runs)

    @property
    def total(self) -> int:
        count: int = HEADER.unpack_from(self._map)[0]
        return count

    @property
    def runs(self) -> bytes:
        return self._map[HEADER.size :]

    @property
    def seconds(self) -> float:
        """From the first that ran to the last."""
        _, first, last = HEADER.unpack_from(self._map)
        return float(last - first)


def of_the_worker() -> Tally:
    return Tally(os.environ[PATH])
