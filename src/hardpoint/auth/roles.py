"""Roles: declared once, required by name, read from the database at every request."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import Depends, Security
from starlette.requests import HTTPConnection

from hardpoint.auth.dependencies import access_token_scheme, current_role, current_user
from hardpoint.auth.protocols import AuthUser
from hardpoint.errors import Forbidden
from hardpoint.log import get_logger
from hardpoint.resolving import link

__all__ = ["Roles"]

logger = get_logger("hardpoint.auth")


class Roles:
    """The roles that exist.

        require_role = Roles("user", "editor", "admin").require

        @router.get("/users", dependencies=[Depends(require_role("admin"))])

    Args:
        *names: Every role's name.

    Raises:
        ValueError: There is none.
        TypeError: One of them is no text.
    """

    def __init__(self, *names: str) -> None:
        _check(names, "Roles")
        if not names:
            raise ValueError("Name at least one role")
        self.names = frozenset(names)

    def require(self, *names: str) -> Callable[..., Awaitable[AuthUser]]:
        """A dependency that gives the current user when they have one of `names`, and answers 403 otherwise.

        Raises:
            ValueError: At once, when no name is given or one is not declared.
            TypeError: At once, when one is no text.
        """
        _check(names, "require")
        if not names:
            raise ValueError("Name at least one role; without any, nobody could pass")
        if unknown := sorted(set(names) - self.names):
            raise ValueError(f"Unknown roles: {', '.join(unknown)}; declared are {', '.join(sorted(self.names))}")
        allowed = frozenset(names)

        async def require_role(
            connection: HTTPConnection,
            user: Annotated[AuthUser, Depends(current_user)],
            # For the document: OpenAPI 3.1 lets a scheme that is not OAuth 2.0 name roles where that one has scopes.
            _shown: Annotated[None, Security(access_token_scheme, scopes=sorted(allowed))],
        ) -> AuthUser:
            if await link(connection, current_role, user) not in allowed:
                logger.warning("forbidden", user_id=user.id, required=sorted(allowed))
                raise Forbidden
            return user

        return require_role


def _check(names: Sequence[Any], called: str) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is no role's name; write {called}('editor', 'admin'), each by itself")
