"""What happened in a run, and what must not have."""

import time
from pathlib import Path


class Account:
    """The seed, a timeline, and every violation, for whoever has to find out why.

    Args:
        title: What was run, with its seed.
        file: Where the timeline is written as it grows.
    """

    def __init__(self, title: str, file: Path | None = None) -> None:
        self.title = title
        self._file = file
        self.violations: list[str] = []
        self._began = time.monotonic()
        self._timeline: list[str] = []

    @property
    def seconds(self) -> float:
        """Since the begin."""
        return time.monotonic() - self._began

    def note(self, text: str) -> None:
        line = f"{self.seconds:8.2f}  {text}"
        self._timeline.append(line)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(f"{line}\n")

    def violated(self, text: str) -> None:
        """Something that must not happen has happened."""
        self.note(f"VIOLATED  {text}")
        self.violations.append(text)

    def check(self) -> None:
        """Raise when something was violated."""
        if self.violations:
            told = "\n".join(f"- {violation}" for violation in self.violations[:50])
            timeline = "\n".join(self._timeline)
            raise AssertionError(f"{self.title}: {len(self.violations)} violations\n{told}\n\n{timeline}")
