"""What the service writes to its users about their accounts."""

from textwrap import dedent
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends
from hardpoint.clock import Clock, utc_datetime, wall_clock
from hardpoint.scope import of_lifespan
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from hardpoint.service.mail.models import QueuedMail
from hardpoint.service.users.models import User

__all__ = ["MailNotifier", "Mails"]


class MailNotifier:
    """Queues the mails that auth asks for, in the transaction that they belong to.

    Args:
        public_url: The service's own address, without a slash at its end. Never the request's `Host`, which the client
            chooses: a reset link to somebody else's server would hand them the token.
        clock: Seconds since the epoch.
    """

    def __init__(self, public_url: str, *, clock: Clock = wall_clock) -> None:
        self._public_url = public_url
        self._clock = clock

    async def verify_email(self, session: AsyncSession, user: User, token: str) -> None:
        """Welcome, with the link that proves the address."""
        self._queue(
            session,
            user,
            "Welcome: please confirm your address",
            f"""\
            Welcome!

            Somebody, we hope you, made an account with this address. Confirm it here, within a day:

            {self._link("verify-email", token)}

            If it was not you, do nothing: the address stays unconfirmed.
            """,
        )

    async def already_registered(self, session: AsyncSession, user: User) -> None:
        """Somebody tried to register an address that has an account."""
        self._queue(
            session,
            user,
            "You have an account already",
            f"""\
            Somebody, perhaps you, tried to make an account with this address, which has one.

            If you forgot your password, ask for a new one at {self._public_url}.
            If it was not you, there is nothing to do.
            """,
        )

    async def reset_password(self, session: AsyncSession, user: User, token: str) -> None:
        """The link that permits a new password."""
        self._queue(
            session,
            user,
            "A new password",
            f"""\
            Somebody, we hope you, asked for a new password. Choose it here, within an hour:

            {self._link("reset-password", token)}

            If it was not you, do nothing: your password stays as it is.
            """,
        )

    async def post_published(self, session: AsyncSession, user: User, *, post_id: int, title: str) -> None:
        """There is something to read."""
        self._queue(
            session,
            user,
            "A new post",
            f"""\
            There is a new post: {title}

            {self._public_url}/posts/{post_id}
            """,
            bulk=True,
        )

    def _link(self, action: str, token: str) -> str:
        return f"{self._public_url}/auth/{action}?token={quote(token, safe='')}"

    def _queue(self, session: AsyncSession, user: User, subject: str, text: str, *, bulk: bool = False) -> None:
        mail = QueuedMail(
            recipient=user.email,
            subject=subject,
            text=dedent(text),
            bulk=bulk,
            due_at=utc_datetime(self._clock()),
        )
        session.add(mail)


async def notifier(connection: HTTPConnection) -> MailNotifier:
    """What the lifespan holds under the name `notifier`."""
    found: MailNotifier = of_lifespan(connection.scope, "notifier")
    return found


Mails = Annotated[MailNotifier, Depends(notifier)]
"""What writes the mails."""
