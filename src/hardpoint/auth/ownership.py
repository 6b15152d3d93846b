"""Ownership: who may do something to a thing, and what the others are told."""

from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection

from hardpoint.auth.dependencies import current_role, current_user
from hardpoint.auth.protocols import AuthUser, UserId
from hardpoint.errors import Forbidden, NotFound
from hardpoint.log import get_logger
from hardpoint.resolving import link
from hardpoint.texts import texts

__all__ = ["require_owner"]

T = TypeVar("T")

logger = get_logger("hardpoint.auth")


def require_owner(
    load: Callable[..., Awaitable[T]],
    *,
    owner_id: Callable[[T], UserId],
    roles: Collection[str] = (),
    hide: bool = True,
) -> Callable[..., Awaitable[T]]:
    """A dependency that gives what `load` gives when the current user owns it or has one of `roles`.

    Args:
        load: A dependency that gives the thing, or raises `NotFound`.
        owner_id: The id of the thing's owner.
        roles: Who else may.
        hide: Whether others get the 404 of a thing that does not exist, which says nothing, or a 403. Choose 403 only
            for what they may read anyway.

    Raises:
        TypeError: At once, when `owner_id` is no function.
        ValueError: At once, when `roles` is one text.
    """
    if not callable(owner_id):
        raise TypeError(f"owner_id takes a function, lambda thing: thing.owner_id, not {owner_id!r}")
    allowed = texts("roles", roles)

    # The user first: who is nobody gets a 401 whether the thing exists or not.
    async def owned(
        connection: HTTPConnection,
        user: Annotated[AuthUser, Depends(current_user)],
        thing: Annotated[Any, Depends(load)],
    ) -> T:
        found: T = thing
        if owner_id(found) != user.id and await link(connection, current_role, user) not in allowed:
            logger.warning("forbidden", user_id=user.id)
            raise NotFound if hide else Forbidden
        return found

    return owned
