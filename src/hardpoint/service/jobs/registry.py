"""The registry that every part of the service declares its jobs in."""

from hardpoint.jobs import JobRegistry

__all__ = ["jobs"]

jobs = JobRegistry()
