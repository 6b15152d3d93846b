"""Accounts: made, verified, given another password; and what of theirs ends with that."""

from hardpoint.auth.api_keys import digest
from hardpoint.auth.base import AuthBase, Client, Purpose, S, U, unknown_token
from hardpoint.auth.email import email_key
from hardpoint.auth.protocols import AuthStore, UserId
from hardpoint.errors import FieldError, ValidationFailed
from hardpoint.log import get_logger

__all__ = ["Accounts"]

logger = get_logger("hardpoint.auth")


class Accounts(AuthBase[U, S]):
    """What an `Auth` does with accounts."""

    async def register(self, session: S, *, email: str, password: str, **columns: object) -> None:
        """Make an account and send a verification mail, or tell the owner when the address has one.

        Does the same work and returns the same nothing in both cases.

        Args:
            session: The request's database session.
            email: A valid address.
            password: What the user chose.
            **columns: Further columns of the application's user model.

        Raises:
            ValidationFailed: The password does not meet the policy.
        """
        accepted = await self.policy.check(password, about_user=_about(email, columns.get("name")))
        password_hash = await self._hasher.hash(accepted)
        store = self.store(session)
        user = await store.add_user(
            email=email,
            created_at=self.now(),
            role=self._default_role,
            is_active=True,
            email_verified=False,
            password_hash=password_hash,
            **columns,
        )
        if user is not None:
            logger.info("account_registered", user_id=user.id)
            if self._notifier is not None:
                token = await self._new_token(store, user, "verify_email")
                await self._notifier.verify_email(session, user, token)
            return
        known = await store.user_by_email(email)
        if known is not None and self._notifier is not None and await self._may_mail(store, known, "told_registered"):
            await self._new_token(store, known, "told_registered")
            await self._notifier.already_registered(session, known)

    async def create_user(self, session: S, *, email: str, password: str, role: str, **columns: object) -> U:
        """An account made by an operator: verified, with a role, without a mail.

        Raises:
            ValidationFailed: The password does not meet the policy, or the address has an account.
        """
        accepted = await self.policy.check(password, about_user=_about(email, columns.get("name")))
        user = await self.store(session).add_user(
            email=email,
            created_at=self.now(),
            role=role,
            is_active=True,
            email_verified=True,
            password_hash=await self._hasher.hash(accepted),
            **columns,
        )
        if user is None:
            raise ValidationFailed(FieldError(field="email", message="Has an account already", code="email_taken"))
        return user

    async def verify_email(self, session: S, token: str) -> None:
        """Mark the address as proven that the token was sent to.

        Raises:
            ValidationFailed: The token is not good, or no longer.
        """
        user = await self._take(session, token, "verify_email")
        await self.store(session).set_email_verified(user)
        self.user_changed(session, user.id)
        logger.info("email_verified", user_id=user.id)

    async def forgot_password(self, session: S, email: str) -> None:
        """Send a reset mail when the address has an active account; say nothing either way."""
        store = self.store(session)
        user = await store.user_by_email(email)
        if user is None or not user.is_active or self._notifier is None:
            return
        if await self._may_mail(store, user, "reset_password"):
            token = await self._new_token(store, user, "reset_password")
            await self._notifier.reset_password(session, user, token)

    async def _may_mail(self, store: AuthStore[U], user: U, purpose: Purpose) -> bool:
        # One after the other, or many at once would all count none.
        await store.locked_user(user.id)
        if await store.count_tokens(user.id, purpose=purpose, now=self.now()) < self._mails_per_hour:
            return True
        logger.warning("mail_withheld", user_id=user.id, purpose=purpose)
        return False

    async def reset_password(self, session: S, token: str, password: str) -> None:
        """Set a new password by a reset mail's token; every session of the user ends, the address is proven.

        Commits what `session` wrote before, so that no connection is held while the password is hashed.

        Raises:
            ValidationFailed: The token is not good; or the password is not, and then the token stays good.
        """
        store = self.store(session)
        # Who brings no token costs no hash; and a guesser tries the address first, which is known by the token alone.
        owner_id = await store.token_owner(digest(token), purpose="reset_password", now=self.now())
        owner = None if owner_id is None else await store.user_by_id(owner_id)
        if owner is None:
            raise unknown_token()
        accepted = await self.policy.check(password, about_user=_about(owner.email, getattr(owner, "name", None)))
        await store.commit()
        password_hash = await self._hasher.hash(accepted)
        user = await self._take(session, token, "reset_password")
        await store.set_password(user, password_hash)
        await store.set_email_verified(user)
        await self._password_changed(store, user.id)
        logger.info("password_reset", user_id=user.id)

    async def change_password(
        self, session: S, user: U, *, current: str, new: str, keep_session: str | None, client: Client
    ) -> None:
        """Set a new password by the current one; every other session of the user ends.

        Commits what `session` wrote before, so that no connection is held while passwords are hashed.

        Raises:
            ValidationFailed: The current password is wrong, or the new one does not meet the policy.
            RateLimited: Too many wrong ones.
        """
        store, account = self.store(session), email_key(user.email)
        # The commit may expire the row.
        user_id, known_hash, about = user.id, user.password_hash, _about(user.email, getattr(user, "name", None))
        await store.commit()
        if self._limiter is not None:
            await self._limiter.attempt(address=client.address, account=account)
        ok, _ = await self._hasher.verify(current, known_hash)
        if not ok:
            logger.warning("wrong_current_password", user_id=user_id, client=client.address)
            raise _wrong_password()
        if self._limiter is not None:
            await self._limiter.succeeded(address=client.address, account=account)
        accepted = await self.policy.check(new, about_user=about)
        password_hash = await self._hasher.hash(accepted)
        # Meanwhile the owner may have set another one, by a mail for example, to get rid of whoever asks here.
        fresh = await store.locked_user(user_id)
        if fresh is None or not fresh.is_active or fresh.password_hash != known_hash:
            raise _wrong_password()
        await store.set_password(fresh, password_hash)
        await self._password_changed(store, user_id, but=keep_session)
        logger.info("password_changed", user_id=user_id)

    async def _password_changed(self, store: AuthStore[U], user_id: UserId, but: str | None = None) -> None:
        await store.drop_tokens(user_id, purpose="reset_password")
        await self._end_sessions(store, user_id, but)

    async def end_sessions(self, session: S, user_id: UserId) -> None:
        """End every session of a user, one that a login is about to make too; for whoever disables or deletes one."""
        store = self.store(session)
        await store.locked_user(user_id)
        await self._end_sessions(store, user_id)


def _about(email: str, name: object) -> list[str]:
    # Words that a guesser would try.
    return [email, name] if isinstance(name, str) else [email]


def _wrong_password() -> ValidationFailed:
    message = "Not the current password"
    return ValidationFailed(FieldError(field="current_password", message=message, code="wrong_password"))
