"""From the table of waiting mails to the mailer, at least once."""

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, select, update

from hardpoint.clock import Clock, utc_datetime, wall_clock
from hardpoint.db import Database
from hardpoint.log import get_logger
from hardpoint.mail import Mail, Mailer, MailRefused, MailUnavailable
from hardpoint.service.mail.models import QueuedMail

__all__ = ["deliver_due"]

logger = get_logger("hardpoint.service.mail")

_BATCH: Final = 20
_LEASE: Final = timedelta(minutes=2)
_MAX_ATTEMPTS: Final = 10
_FIRST_PAUSE: Final = timedelta(seconds=10)


async def deliver_due(database: Database, mailer: Mailer, *, clock: Clock = wall_clock) -> int:
    """Hand over the mails that are due; how many were.

    A mail is leased before it is sent and removed after: another process does not send it meanwhile, and one that dies
    in between leaves it to the next after the lease. A mailer that is away is tried again, each pause twice as long.
    """
    delivered = 0
    for mail_id, mail, attempts in await _lease(database, clock):
        try:
            await mailer.send(mail)
        except MailUnavailable as error:
            if attempts < _MAX_ATTEMPTS:
                logger.warning("mail_postponed", mail_id=mail_id, attempts=attempts, reason=str(error))
                await _postpone(database, mail_id, clock, _FIRST_PAUSE * 2 ** (attempts - 1))
                continue
            logger.exception("mail_given_up", mail_id=mail_id, attempts=attempts)
        except MailRefused:
            logger.exception("mail_refused", mail_id=mail_id)
        else:
            delivered += 1
            logger.info("mail_sent", mail_id=mail_id)
        async with database.session() as session:
            await session.execute(delete(QueuedMail).where(QueuedMail.id == mail_id))
    return delivered


async def _lease(database: Database, clock: Clock) -> list[tuple[int, Mail, int]]:
    now = utc_datetime(clock())
    async with database.session() as session:
        due = select(QueuedMail.id).where(QueuedMail.due_at <= now).order_by(QueuedMail.due_at).limit(_BATCH)
        if not (await session.scalars(due)).first():
            # Most looks find nothing, and should not write.
            return []
        lease = (
            update(QueuedMail)
            .where(QueuedMail.id.in_(due.with_for_update(skip_locked=True)))
            .values(due_at=now + _LEASE, attempts=QueuedMail.attempts + 1)
            .returning(QueuedMail)
        )
        rows = (await session.scalars(lease)).all()
        return [(row.id, Mail(to=row.recipient, subject=row.subject, text=row.text), row.attempts) for row in rows]


async def _postpone(database: Database, mail_id: int, clock: Clock, pause: timedelta) -> None:
    async with database.session() as session:
        due_at = utc_datetime(clock()) + pause
        await session.execute(update(QueuedMail).where(QueuedMail.id == mail_id).values(due_at=due_at))
