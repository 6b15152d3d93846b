"""Hold a Kubernetes manifest against Kubernetes' own schemas, strictly: a field that nobody knows is a fault.

A `List` has no schema of its own, so its items are looked at one by one.
"""

import sys
from pathlib import Path

import kubernetes_validate
import yaml


def main() -> None:
    """Say of each item that it fits, or end with what is wrong."""
    version = kubernetes_validate.latest_version()
    for item in yaml.safe_load(Path(sys.argv[1]).read_text())["items"]:
        kubernetes_validate.validate(item, version, strict=True)
        print(f"{item['kind']} {item['metadata']['name']}: fits Kubernetes {version}")  # noqa: T201 - its answer.


if __name__ == "__main__":
    main()
