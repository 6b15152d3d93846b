"""What can be done with users."""

from typing import Any

from hardpoint.auth import Auth, Client
from hardpoint.db import transaction_lock
from hardpoint.errors import Conflict, NotFound
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from hardpoint.service.users.models import User
from hardpoint.service.users.schemas import OwnChanges, UserChanges

__all__ = ["LAST_ADMIN", "Users"]

LAST_ADMIN = "LAST_ADMIN"


class Users:
    """Users, on one database session.

    Args:
        session: The database session.
        auth: Ends sessions and changes passwords.
    """

    def __init__(self, session: AsyncSession, auth: Auth[User]) -> None:
        self._session = session
        self._auth = auth

    def all(self) -> Select[Any]:
        """A select of every user, for a listing."""
        return select(User)

    async def get(self, user_id: int) -> User:
        """The user with this id.

        Raises:
            NotFound: There is none.
        """
        # As it is now, also when the one who asks is this user, whom a cache may have given.
        user = await self._session.get(User, user_id, populate_existing=True)
        if user is None:
            raise NotFound
        return user

    async def change_own(self, user: User, changes: OwnChanges, *, session_id: str, client: Client) -> User:
        """Change one's own name or password; a new password ends all other sessions."""
        if changes.password is not None and changes.current_password is not None:
            await self._auth.change_password(
                self._session,
                user,
                current=changes.current_password,
                new=changes.password,
                keep_session=session_id,
                client=client,
            )
        if "name" in changes.model_fields_set:
            user.name = changes.name
        self._auth.user_changed(self._session, user.id)
        return user

    async def change(self, user_id: int, changes: UserChanges) -> User:
        """Change a user as an admin does. A disabled user's sessions end.

        Raises:
            NotFound: There is no such user.
            Conflict: The last admin would be demoted or disabled.
        """
        await self._lock_admins()
        user = await self.get(user_id)
        demotes = changes.role not in {None, "admin"} or changes.is_active is False
        if demotes and user.role == "admin":
            await self._keep_an_admin(user)
        if changes.role is not None:
            user.role = changes.role
        if changes.is_active is not None:
            user.is_active = changes.is_active
        if "name" in changes.model_fields_set:
            user.name = changes.name
        if changes.is_active is False:
            await self._auth.end_sessions(self._session, user.id)
        self._auth.user_changed(self._session, user.id)
        return user

    async def delete(self, user_id: int) -> None:
        """Remove a user with everything that is theirs.

        Raises:
            NotFound: There is no such user.
            Conflict: It is the last admin.
        """
        await self._lock_admins()
        user = await self.get(user_id)
        if user.role == "admin":
            await self._keep_an_admin(user)
        await self._session.delete(user)
        self._auth.user_changed(self._session, user.id)

    async def _lock_admins(self) -> None:
        # Two admins who demote each other at the same moment must not both succeed.
        await transaction_lock(self._session, "users admins")

    async def _keep_an_admin(self, user: User) -> None:
        others = select(func.count()).where(User.role == "admin", User.is_active, User.id != user.id)
        if not await self._session.scalar(others):
            raise Conflict("The last admin cannot be deleted, demoted or disabled", code=LAST_ADMIN)
