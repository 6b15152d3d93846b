"""A real SMTP server that takes every mail."""

import email
import email.policy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from support.servers import lasting_port


@dataclass(frozen=True)
class Received:
    """A mail that was taken."""

    to: str
    subject: str
    text: str


class Mailbox:
    """What has arrived, in order; the server runs in a thread of its own."""

    def __init__(self) -> None:
        self.port = lasting_port()
        self.url = f"smtp://127.0.0.1:{self.port}"
        self.mails: list[Received] = []

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["Mailbox"]:
        mailbox = cls()
        controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
        controller.start()
        try:
            yield mailbox
        finally:
            controller.stop()

    def token_for(self, address: str) -> str | None:
        """The token in the newest mail to `address` that has one."""
        for mail in reversed(self.mails):
            match = re.search(r"\?token=([A-Za-z0-9_.-]+)", mail.text)
            if mail.to == address and match is not None:
                return match[1]
        return None

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the hook's name.
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        text = "\n".join(str(message.get_content()).splitlines())
        self.mails.append(Received(str(message["To"]), str(message["Subject"]), text))
        return "250 OK"
