"""Mails: written as `.eml` files by default, sent by SMTP where an address is set.

`hardpoint.mail.smtp` is imported when it is needed, because it needs the extra `smtp`.
"""

from pathlib import Path
from typing import Protocol

from hardpoint.mail.files import FileMailer
from hardpoint.mail.message import Mail, MailRefused, MailUnavailable

__all__ = ["FileMailer", "Mail", "MailRefused", "MailUnavailable", "Mailer", "make_mailer"]


class Mailer(Protocol):
    """What sends mails."""

    async def send(self, mail: Mail) -> None:
        """Send `mail`; raises `MailUnavailable` for later, `MailRefused` for never."""


def make_mailer(smtp_url: str | None, *, folder: Path | str, sender: str) -> Mailer:
    """A mailer for the SMTP server at `smtp_url`, or for `.eml` files in `folder` without one.

    Raises:
        ValueError: The address cannot be read.
    """
    if smtp_url is None:
        return FileMailer(folder, sender=sender)
    from hardpoint.mail.smtp import SmtpMailer  # noqa: PLC0415 - the extra `smtp`, needed here alone.

    return SmtpMailer(smtp_url, sender=sender)
