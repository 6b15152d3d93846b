"""Everything that runs, for one test of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.account import Account
from chaos.installation import Installation


@pytest.fixture
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Account:
    return Account(request.node.name, tmp_path / "timeline")


@pytest.fixture
def installation(account: Account, tmp_path: Path) -> Iterator[Installation]:
    with Installation.started(account, tmp_path) as here:
        yield here
