"""Acting as a user: by replacing a link of auth's chain, or with a real session."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI

from hardpoint.auth import Auth, AuthUser, Principal, UnsavedSession, optional_principal
from hardpoint.auth.refresh import new_session_id, new_session_secret
from hardpoint.db import Database

__all__ = ["bearer", "signed_in"]


@contextmanager
def signed_in(app: FastAPI, user: AuthUser | None) -> Iterator[None]:
    """Every request and WebSocket of `app` is by `user`, whatever it brings; by nobody for `None`.

    Replaces `optional_principal`, the link that everything else stands on, so roles and ownership are checked as ever,
    and neither a database nor a lifespan is needed for what does not use them. What was overridden before is put back.

    Args:
        app: The application. One that is mounted in another is overridden by itself.
        user: Any user, saved or not, such as `User(id=1, role="admin", ...)`.
    """
    principal = None if user is None else Principal(user, UnsavedSession(user_id=user.id))

    async def act_as_user() -> Principal[AuthUser] | None:
        return principal

    before = app.dependency_overrides.get(optional_principal)
    app.dependency_overrides[optional_principal] = act_as_user
    try:
        yield
    finally:
        if before is None:
            del app.dependency_overrides[optional_principal]
        else:
            app.dependency_overrides[optional_principal] = before


async def bearer(auth: Auth[Any], database: Database, user: AuthUser) -> dict[str, str]:
    """The `Authorization` header of a real session of a saved user, as a login would give, without the password."""
    async with database.session() as session:
        now = auth.now()
        auth_session = await auth.store(session).add_session(
            id=new_session_id(),
            user_id=user.id,
            secret=new_session_secret(),
            generation=0,
            device="hardpoint.testing",
            address="",
            created_at=now,
            rotated_at=now,
            last_seen_at=now,
        )
        return {"Authorization": f"Bearer {auth.tokens_of(auth_session).access_token}"}
