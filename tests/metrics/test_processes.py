"""Several processes behind one address tell one sum, whichever of them is asked."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

# Two requests answered and one in flight; what a scrape of this process tells.
SCRIPT = """
import asyncio, sys
from hardpoint.metrics import Metrics
from prometheus_client.metrics_core import GaugeMetricFamily

metrics = Metrics(instance="a")
metrics.answered("GET", "/posts", 200, 0.1)
metrics.answered("GET", "/posts", 200, 0.1)
metrics.in_flight.inc()
metrics.add("own", lambda: [GaugeMetricFamily("own", "Of this process", value=7)])
metrics.add("shared", lambda: [GaugeMetricFamily("shared", "Of all", value=8)], shared=True)
sys.stdout.write(asyncio.run(metrics.render()).decode())
"""


def told(folder: Path) -> tuple[str, dict[str, dict[tuple[tuple[str, str], ...], float]]]:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return str(process.pid), samples


def test_counters_are_added_up_and_the_dead_have_nothing_in_flight(tmp_path: Path) -> None:
    told(tmp_path)
    pid, samples = told(tmp_path)
    labels = (("method", "GET"), ("route", "/posts"), ("status", "200"))
    assert samples["hardpoint_http_requests_total"] == {labels: 4}
    assert samples["hardpoint_http_request_duration_seconds_count"] == {labels[:2]: 4}
    assert samples["hardpoint_http_requests_in_flight"] == {(): 1}
    # What only the process that answers knows says which one that is.
    assert samples["own"] == {(("pid", pid),): 7}
    assert set(samples["process_resident_memory_bytes"]) == {(("pid", pid),)}
    assert samples["shared"] == {(): 8}
