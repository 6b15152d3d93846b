"""What auth needs of the application around it."""

from typing import Generic, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from hardpoint.auth.models import UserMixin

__all__ = ["AuthNotifier", "LoginLimiter"]

U_contra = TypeVar("U_contra", bound=UserMixin, contravariant=True)


class AuthNotifier(Protocol, Generic[U_contra]):
    """How users are told. Called in the request's transaction, so that a mail can be queued together with the data."""

    async def verify_email(self, session: AsyncSession, user: U_contra, token: str) -> None:
        """A new account: send the token that proves the address."""

    async def already_registered(self, session: AsyncSession, user: U_contra) -> None:
        """Somebody registered an address that has an account: tell its owner, and nobody else."""

    async def reset_password(self, session: AsyncSession, user: U_contra, token: str) -> None:
        """The owner asked for a new password: send the token that permits it."""


class LoginLimiter(Protocol):
    """What slows down guessing."""

    async def attempt(self, *, address: str, account: str) -> None:
        """Count an attempt for both, or raise `RateLimited` when one of them has none left."""

    async def succeeded(self, *, address: str, account: str) -> None:
        """Take the attempt back from the address, and forget all of the account's."""
