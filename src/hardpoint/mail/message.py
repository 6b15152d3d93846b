"""A mail, before anybody sends it."""

from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from hardpoint.clock import Clock, utc_datetime, wall_clock

__all__ = ["Mail", "MailRefused", "MailUnavailable", "as_message"]


class MailUnavailable(Exception):
    """The mail could not be handed over now; trying again later may work (RFC 5321, section 4.2.1, a 4yz reply)."""


class MailRefused(Exception):
    """The mail will never be taken; trying again is of no use (RFC 5321, section 4.2.1, a 5yz reply)."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A plain text mail to one address.

    Attributes:
        to: The address.
        subject: One line.
        text: The body.
    """

    to: str
    subject: str
    text: str


def as_message(mail: Mail, *, sender: str, clock: Clock = wall_clock) -> EmailMessage:
    """The mail as an Internet message (RFC 5322).

    Raises:
        MailRefused: It is not to one address, or has what cannot stand in a mail: a line break in a header, with which
            further headers could be smuggled in, or text that is no Unicode.
    """
    if any(character in value for value in (mail.to, mail.subject, sender) for character in "\r\n\x00"):
        raise MailRefused("A header must not contain a line break")
    try:
        message = _message(mail, sender, clock)
        # Half of what can be wrong with a header shows when it is written.
        message.as_bytes()
    except (ValueError, UnicodeError) as error:
        raise MailRefused("It has what cannot stand in a mail") from error
    if len(message["To"].addresses) != 1:
        raise MailRefused("A mail goes to one address")
    return message


def _message(mail: Mail, sender: str, clock: Clock) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = mail.to
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(utc_datetime(clock()))
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].rstrip(">") or None)
    # RFC 3834, section 5: so that vacation programs do not answer.
    message["Auto-Submitted"] = "auto-generated"
    # Not quoted-printable: it would break links across lines for whoever reads the file as it is.
    message.set_content(mail.text, cte="7bit" if mail.text.isascii() else "8bit")
    return message
