"""Mails by SMTP (RFC 5321), on `aiosmtplib`."""

from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from hardpoint.clock import Clock, wall_clock
from hardpoint.mail.message import Mail, MailRefused, MailUnavailable, as_message

__all__ = ["SmtpMailer"]

_PERMANENT: Final = range(500, 600)


class SmtpMailer:
    """Sends each mail over a connection of its own.

    `smtp://` turns to TLS when the server offers it (RFC 3207); `smtps://` speaks TLS from the start (RFC 8314).

    Args:
        url: `smtp://user:password@host:port`; user, password and port may be left out.
        sender: The address that mails are from.
        timeout_seconds: For each step of the conversation.
        clock: Seconds since the epoch.

    Raises:
        ValueError: The address cannot be read.
    """

    def __init__(self, url: str, *, sender: str, timeout_seconds: float = 10.0, clock: Clock = wall_clock) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise ValueError("The SMTP address must be smtp://host:port or smtps://host:port")
        self._host = parts.hostname
        self._port = parts.port
        self._tls = parts.scheme == "smtps"
        self._username = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._sender = sender
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    async def send(self, mail: Mail) -> None:
        """Hand the mail to the server.

        Raises:
            MailUnavailable: The server is away or says to try later.
            MailRefused: The server will not take it.
        """
        message = as_message(mail, sender=self._sender, clock=self._clock)
        try:
            await aiosmtplib.send(
                message,
                hostname=self._host,
                port=self._port,
                username=self._username,
                password=self._password,
                use_tls=self._tls,
                timeout=self._timeout_seconds,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            permanent = all(refusal.code in _PERMANENT for refusal in error.recipients)
            raise (MailRefused if permanent else MailUnavailable)("The recipient was refused") from error
        except aiosmtplib.SMTPResponseException as error:
            permanent = error.code in _PERMANENT and not isinstance(error, aiosmtplib.SMTPAuthenticationError)
            raise (MailRefused if permanent else MailUnavailable)(f"The server answered {error.code}") from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailUnavailable("The server cannot be reached") from error
