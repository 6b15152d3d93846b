"""The accounts that every variant with accounts has."""

import os

EMAIL = "ann@example.com"
OTHER_EMAIL = "ben@example.com"
ROLES = {EMAIL: "admin", OTHER_EMAIL: "user"}
PASSWORD = "correct horse battery staple"
SECRET = b"a secret of thirty-two bytes or more for benchmarks"


def database_url(name: str) -> str:
    """A SQLite file of its own for a variant's process."""
    return f"sqlite+aiosqlite:///{os.environ['BENCHMARK_FOLDER']}/{name}.db"
