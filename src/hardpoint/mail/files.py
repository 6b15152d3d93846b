"""Mails as `.eml` files, for development: nothing to configure, and every mail program opens them."""

import secrets
from datetime import datetime
from pathlib import Path

from anyio import to_thread

from hardpoint.clock import Clock, utc_datetime, wall_clock
from hardpoint.mail.message import Mail, MailUnavailable, as_message

__all__ = ["FileMailer"]


class FileMailer:
    """Writes each mail into a folder, whole or not at all, under a name that sorts by time.

    Args:
        folder: Made when the first mail is written.
        sender: The address that mails are from.
        clock: Seconds since the epoch.
    """

    def __init__(self, folder: Path | str, *, sender: str, clock: Clock = wall_clock) -> None:
        self._folder = Path(folder)
        self._sender = sender
        self._clock = clock

    async def send(self, mail: Mail) -> None:
        """Write the mail.

        Raises:
            MailRefused: It cannot be written as a mail.
            MailUnavailable: The folder is full or cannot be written.
        """
        content = as_message(mail, sender=self._sender, clock=self._clock).as_bytes()
        try:
            await to_thread.run_sync(self._write, content, utc_datetime(self._clock()))
        except OSError as error:
            raise MailUnavailable("The folder for mails cannot be written") from error

    def _write(self, content: bytes, moment: datetime) -> None:
        # Mails hold tokens: the folder is the owner's alone.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{moment:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}"
        unfinished = self._folder / f".{name}.tmp"
        try:
            unfinished.write_bytes(content)
            unfinished.rename(self._folder / f"{name}.eml")
        finally:
            unfinished.unlink(missing_ok=True)
