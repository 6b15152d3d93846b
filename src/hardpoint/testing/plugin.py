"""The fixtures, as a pytest plugin: `pytest_plugins = ["hardpoint.testing.plugin"]`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi import FastAPI

from hardpoint.auth import AuthUser
from hardpoint.testing.signing_in import signed_in

__all__ = ["sign_in"]


@pytest.fixture
def sign_in() -> Iterator[Callable[[FastAPI, AuthUser | None], None]]:
    """`sign_in(app, user)`: from then on and until the test's end every request of `app` is by `user`."""
    with ExitStack() as stack:

        def act_as(app: FastAPI, user: AuthUser | None) -> None:
            stack.enter_context(signed_in(app, user))

        yield act_as
