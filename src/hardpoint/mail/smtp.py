"""Mails by SMTP (RFC 5321), on `aiosmtplib`."""

from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from hardpoint.clock import Clock, wall_clock
from hardpoint.mail.message import Mail, MailRefused, MailUnavailable, as_message

__all__ = ["SmtpMailer"]

_PERMANENT: Final = range(500, 600)
# RFC 4954, section 6: what the operator has to mend.
_ABOUT_THE_LOGIN: Final = {530, 534, 535, 538}


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
        try:
            port = parts.port
        except ValueError:
            port = -1
        # A slash, a question mark or a hash in a password that is not percent-encoded ends up in the later parts.
        rest = parts.path.strip("/") or parts.query or parts.fragment
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or rest or port == -1:
            # Never the address itself: it has a password.
            raise ValueError("The SMTP address must be smtp://user:password@host:port, percent-encoded") from None
        self._host = parts.hostname
        self._port = port
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
        client = aiosmtplib.SMTP(hostname=self._host, port=self._port, use_tls=self._tls, timeout=self._timeout_seconds)
        try:
            await self._connect(client)
            await self._deliver(client, message)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailUnavailable("The server cannot be reached") from error
        finally:
            # Without a farewell: the mail is taken or is not, and a silent server is not worth waiting for.
            client.close()

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        """Say hello and log in; whatever is wrong with that is wrong with the service's settings, not with the mail."""
        try:
            await client.connect()
            if self._username is not None:
                await client.login(self._username, self._password or "")
        except aiosmtplib.SMTPResponseException as error:
            raise MailUnavailable(f"The server answered {error.code} before the mail") from error

    async def _deliver(self, client: aiosmtplib.SMTP, message: EmailMessage) -> None:
        try:
            await client.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refusal.code for refusal in error.recipients]
            raise _refusal(codes, "The recipient was refused") from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal([error.code], f"The server answered {error.code}") from error
        except aiosmtplib.SMTPNotSupported as error:
            raise MailRefused("The server does not know international addresses") from error


def _refusal(codes: list[int], told: str) -> MailRefused | MailUnavailable:
    permanent = all(code in _PERMANENT and code not in _ABOUT_THE_LOGIN for code in codes)
    return MailRefused(told) if permanent else MailUnavailable(told)
