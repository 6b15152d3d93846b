"""Roles: declared once, required by name, read from the database at every request."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends

from hardpoint.auth.dependencies import current_user
from hardpoint.auth.models import UserMixin
from hardpoint.errors import Forbidden
from hardpoint.log import get_logger

__all__ = ["Roles"]

logger = get_logger("hardpoint.auth")


class Roles:
    """The roles that exist.

        require_role = Roles("user", "editor", "admin").require

        @router.get("/users", dependencies=[Depends(require_role("admin"))])

    Args:
        *names: Every role's name.
    """

    def __init__(self, *names: str) -> None:
        if not names:
            raise ValueError("Name at least one role")
        self.names = frozenset(names)

    def require(self, *names: str) -> Callable[..., Awaitable[UserMixin]]:
        """A dependency that gives the current user when they have one of `names`, and answers 403 otherwise.

        Raises:
            ValueError: At once, when no name is given or one is not declared.
        """
        if not names:
            raise ValueError("Name at least one role; without any, nobody could pass")
        if unknown := sorted(set(names) - self.names):
            raise ValueError(f"Unknown roles: {', '.join(unknown)}; declared are {', '.join(sorted(self.names))}")
        allowed = frozenset(names)

        async def require_role(user: Annotated[UserMixin, Depends(current_user)]) -> UserMixin:
            if user.role not in allowed:
                logger.warning("forbidden", user_id=user.id, required=sorted(allowed))
                raise Forbidden
            return user

        return require_role
