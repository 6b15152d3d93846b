"""From the table of waiting mails to the mailer, at least once."""

from datetime import timedelta
from typing import Final

from hardpoint.clock import Clock, utc_datetime, wall_clock
from hardpoint.db import Database
from hardpoint.log import get_logger
from hardpoint.mail import Mail, Mailer, MailRefused, MailUnavailable
from sqlalchemy import delete, select, update

from hardpoint.service.mail.models import QueuedMail

__all__ = ["deliver_due"]

logger = get_logger("hardpoint.service.mail")

_LEASE: Final = timedelta(minutes=2)
# Four days with these pauses: a mail server may be away for a weekend (RFC 5321, section 4.5.4.1).
_MAX_ATTEMPTS: Final = 105
_FIRST_PAUSE: Final = timedelta(seconds=10)
_LONGEST_PAUSE: Final = timedelta(hours=1)
_DOUBLINGS: Final = 10


async def deliver_due(database: Database, mailer: Mailer, *, clock: Clock = wall_clock) -> int:
    """Hand over the mails that are due, those that somebody waits for first; how many were.

    A mail is leased before it is sent and removed after: another process does not send it meanwhile, and one that dies
    in between leaves it to the next after the lease. A mailer that is away, or breaks, is tried again, each pause twice
    as long up to an hour; after four days it is given up.
    """
    delivered = 0
    done: int | None = None
    while (leased := await _lease_next(database, clock, done)) is not None:
        mail_id, mail, attempts = leased
        done = None
        try:
            await mailer.send(mail)
        except MailRefused:
            logger.exception("mail_refused", mail_id=mail_id)
        except Exception as error:
            if attempts < _MAX_ATTEMPTS:
                # What is away says so; anything else is a fault, and its mail must not hold up the others.
                reason = str(error) if isinstance(error, MailUnavailable) else type(error).__name__
                logger.warning("mail_postponed", mail_id=mail_id, attempts=attempts, reason=reason)
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempts - 1, _DOUBLINGS))
                await _postpone(database, mail_id, clock, pause)
                continue
            logger.exception("mail_given_up", mail_id=mail_id, attempts=attempts)
        else:
            delivered += 1
            logger.info("mail_sent", mail_id=mail_id)
        done = mail_id
    return delivered


async def _lease_next(database: Database, clock: Clock, done: int | None) -> tuple[int, Mail, int] | None:
    """Remove the mail `done` and lease the next, in one transaction: a mail costs one, not two."""
    now = utc_datetime(clock())
    async with database.session() as session:
        if done is not None:
            await session.execute(delete(QueuedMail).where(QueuedMail.id == done))
        order = (QueuedMail.bulk, QueuedMail.due_at, QueuedMail.id)
        due = select(QueuedMail.id).where(QueuedMail.due_at <= now).order_by(*order).limit(1)
        # By itself, not within the update: PostgreSQL may run a subquery once for each row, and lease them all.
        mail_id = (await session.scalars(due.with_for_update(skip_locked=True))).first()
        if mail_id is None:
            return None
        lease = (
            update(QueuedMail)
            .where(QueuedMail.id == mail_id, QueuedMail.due_at <= now)
            .values(due_at=now + _LEASE, attempts=QueuedMail.attempts + 1)
            .returning(QueuedMail)
        )
        row = (await session.scalars(lease)).first()
        if row is None:
            return None
        return row.id, Mail(to=row.recipient, subject=row.subject, text=row.text), row.attempts


async def _postpone(database: Database, mail_id: int, clock: Clock, pause: timedelta) -> None:
    async with database.session() as session:
        due_at = utc_datetime(clock()) + pause
        await session.execute(update(QueuedMail).where(QueuedMail.id == mail_id).values(due_at=due_at))
