"""Several processes behind one address, as with `hardpoint serve --workers N`.

Prometheus then reaches one of them by chance. With `PROMETHEUS_MULTIPROC_DIR`, prometheus-client keeps the values of
instruments in files there, and whichever process answers adds them up. What is read from a process at the moment of
the scrape cannot be read from its siblings; it gets a label `pid`, so that nobody takes one's number for another's.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.samples import Sample

__all__ = ["FOLDER_VARIABLE", "is_on", "labelled", "merged"]

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def is_on() -> bool:
    """Whether values are kept in files that several processes share."""
    return FOLDER_VARIABLE in os.environ


def merged(registry: CollectorRegistry) -> Iterator[Metric]:
    """The instruments of all processes together, and what `registry` collects in this one besides them."""
    _forget_the_dead(Path(os.environ[FOLDER_VARIABLE]))
    together: list[Metric] = list(MultiProcessCollector(None).collect())  # type: ignore[no-untyped-call] # It has none.
    yield from together
    names = {family.name for family in together}
    yield from labelled(family for family in registry.collect() if family.name not in names)


def labelled(families: Iterable[Metric]) -> Iterator[Metric]:
    """The same families, each sample with this process's id."""
    pid = str(os.getpid())
    for family in families:
        copy = Metric(family.name, family.documentation, family.type)
        copy.samples = [
            Sample(sample.name, {**sample.labels, "pid": pid}, sample.value, sample.timestamp, sample.exemplar)
            for sample in family.samples
        ]
        yield copy


def _forget_the_dead(folder: Path) -> None:
    # What is in flight in a process that was killed is in flight no more; its counters stay.
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            # Another process may look at the same moment.
            with suppress(FileNotFoundError):
                mark_process_dead(pid)  # type: ignore[no-untyped-call] # It has no annotations.
        except PermissionError:
            continue
