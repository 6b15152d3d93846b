"""The outbox on both databases, delivering to a real mail server by a clock that the test moves."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from hardpoint.clock import utc_datetime
from hardpoint.db import Database, open_database
from hardpoint.mail import FileMailer
from hardpoint.mail.smtp import SmtpMailer
from sqlalchemy import func, select

from hardpoint.service import migrations
from hardpoint.service.mail.delivery import deliver_due
from hardpoint.service.mail.models import QueuedMail
from hardpoint.service.mail.notifier import MailNotifier
from hardpoint.service.users.models import User
from support.asgi import logged
from support.servers import free_port

NOW = 1_800_000_000.0
LEASE = 120
# Four days of them.
PAUSES = [*(10.0 * 2**attempt for attempt in range(9)), *[3_600.0] * 95]
SENDER = "hardpoint@example.com"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Inbox:
    """What arrived, by recipient; `answers` has the server's answer to the text of a recipient that it refuses."""

    def __init__(self) -> None:
        self.recipients: list[str] = []
        self.answers: dict[str, str] = {}
        self.on_mail: Callable[[], Awaitable[None]] | None = None

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802 - the hook's name.
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the hook's name.
        self.recipients.extend(envelope.rcpt_tos)
        if self.on_mail is not None:
            await self.on_mail()
        return "250 OK"


def mailer_to(port: int, **options: float) -> SmtpMailer:
    return SmtpMailer(f"smtp://127.0.0.1:{port}", sender=SENDER, **options)


class Post:
    """A database with an outbox, a mail server, and a clock."""

    def __init__(self, database: Database, inbox: Inbox, port: int) -> None:
        self.database = database
        self.inbox = inbox
        self.mailer = mailer_to(port)
        # It waits for nothing for long, not even when it is cancelled.
        self.hasty_mailer = mailer_to(port, timeout_seconds=0.2)
        self.clock = Clock()

    async def queue(self, *recipients: str, due_at: float = NOW, subject: str = "s", bulk: bool = False) -> None:
        due = utc_datetime(due_at)
        async with self.database.session() as session:
            for recipient in recipients:
                session.add(QueuedMail(recipient=recipient, subject=subject, text="t", bulk=bulk, due_at=due))

    async def deliver(self, mailer: Any = None, *, database: Database | None = None) -> int:
        return await deliver_due(database or self.database, mailer or self.mailer, clock=self.clock)

    async def waiting(self) -> list[tuple[str, int, datetime]]:
        columns = (QueuedMail.recipient, QueuedMail.attempts, QueuedMail.due_at)
        async with self.database.session() as session:
            return [tuple(row) for row in (await session.execute(select(*columns).order_by(QueuedMail.id))).all()]

    def at(self, seconds: float) -> datetime:
        """The moment `seconds` from now."""
        return utc_datetime(self.clock.now + seconds)


@asynccontextmanager
async def mail_server(inbox: Inbox) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    connections: list[SMTP] = []

    def connection() -> SMTP:
        connections.append(SMTP(inbox, hostname="mail.example.com", loop=loop))
        return connections[-1]

    server = await loop.create_server(connection, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        tasks = [each._handler_coroutine for each in connections if each._handler_coroutine is not None]
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def post(database_url: str) -> AsyncIterator[Post]:
    inbox = Inbox()
    async with open_database(database_url) as database, mail_server(inbox) as port:
        await migrations().upgrade(database.engine)
        yield Post(database, inbox, port)


def away() -> SmtpMailer:
    """For a server that nobody runs."""
    return mailer_to(free_port())


# Once


async def test_a_mail_is_sent_once_and_forgotten(post: Post) -> None:
    await post.queue("ann@example.com")
    with logged() as records:
        assert await post.deliver() == 1
    assert post.inbox.recipients == ["ann@example.com"]
    assert len(records.fields("mail_sent")) == 1
    assert await post.waiting() == []
    assert await post.deliver() == 0
    assert post.inbox.recipients == ["ann@example.com"]


async def test_nothing_waiting_is_nothing_done(post: Post) -> None:
    assert await post.deliver() == 0


async def test_a_mail_waits_until_it_is_due(post: Post) -> None:
    await post.queue("ann@example.com", due_at=NOW + 60)
    post.clock.now = NOW + 59.999
    assert await post.deliver() == 0
    post.clock.now = NOW + 60
    assert await post.deliver() == 1


async def test_all_that_wait_are_sent(post: Post) -> None:
    recipients = [f"user{number}@example.com" for number in range(45)]
    await post.queue(*recipients)
    assert await post.deliver() == 45
    assert post.inbox.recipients == recipients
    assert await post.deliver() == 0


async def test_what_somebody_waits_for_does_not_stand_behind_what_goes_to_many(post: Post) -> None:
    await post.queue("one@example.com", "two@example.com", due_at=NOW - 60, bulk=True)
    await post.queue("waits@example.com")
    assert await post.deliver() == 3
    assert post.inbox.recipients == ["waits@example.com", "one@example.com", "two@example.com"]


async def test_a_mail_of_a_transaction_that_failed_is_never_sent(post: Post) -> None:
    user = User(id=1, email="ann@example.com", email_key="ann@example.com", role="user")
    notifier = MailNotifier("https://service.example.com", clock=post.clock)

    async def fail_after_queueing() -> None:
        async with post.database.session() as session:
            await notifier.verify_email(session, user, "token")
            await session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_queueing()
    assert await post.deliver() == 0
    async with post.database.session() as session:
        await notifier.verify_email(session, user, "token")
    assert await post.deliver() == 1


async def test_the_notifiers_mails_carry_links_to_the_public_address(post: Post, tmp_path: Path) -> None:
    user = User(id=1, email="ann@example.com", email_key="ann@example.com", role="user")
    notifier = MailNotifier("https://service.example.com", clock=post.clock)
    async with post.database.session() as session:
        await notifier.verify_email(session, user, "a+/?&b")
        await notifier.reset_password(session, user, "reset")
        await notifier.already_registered(session, user)
    assert await post.deliver(FileMailer(tmp_path / "mail", sender=SENDER)) == 3
    texts = "".join(read_texts(tmp_path / "mail"))
    assert "\nhttps://service.example.com/auth/verify-email?token=a%2B%2F%3F%26b\n" in texts
    assert "\nhttps://service.example.com/auth/reset-password?token=reset\n" in texts
    assert texts.count("?token=") == 2


def read_texts(folder: Path) -> list[str]:
    messages = [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in folder.iterdir()]
    return [message.get_content().replace("\r\n", "\n") for message in messages]


# Later, or never


async def test_a_mail_is_postponed_by_growing_pauses_and_then_given_up(post: Post) -> None:
    await post.queue("ann@example.com")
    with logged() as records:
        for attempt, pause in enumerate(PAUSES, start=1):
            assert await post.deliver(away()) == 0
            assert await post.waiting() == [("ann@example.com", attempt, post.at(pause))]
            post.clock.now += pause - 0.001
            await post.deliver(away())
            # Too early: not tried.
            assert await post.waiting() == [("ann@example.com", attempt, post.at(0.001))]
            post.clock.now = post.clock.now + 0.001
        assert await post.deliver(away()) == 0
    assert await post.waiting() == []
    assert [line["attempts"] for line in records.fields("mail_postponed")] == list(range(1, 105))
    assert [line["attempts"] for line in records.fields("mail_given_up")] == [105]
    assert records.fields("mail_sent") == []


async def test_a_postponed_mail_is_sent_when_the_server_is_back(post: Post) -> None:
    await post.queue("ann@example.com")
    await post.deliver(away())
    post.clock.now += 10
    await post.deliver(away())
    post.clock.now += 20
    assert await post.deliver() == 1
    assert post.inbox.recipients == ["ann@example.com"]


async def test_a_refused_mail_is_not_tried_again(post: Post) -> None:
    post.inbox.answers["nobody@example.com"] = "550 no such user"
    await post.queue("nobody@example.com")
    with logged() as records:
        assert await post.deliver() == 0
    assert len(records.fields("mail_refused")) == 1
    assert await post.waiting() == []


async def test_neither_a_refused_nor_a_postponed_mail_holds_up_the_others(post: Post) -> None:
    post.inbox.answers = {"nobody@example.com": "550 no such user", "full@example.com": "452 mailbox full"}
    await post.queue("nobody@example.com", "full@example.com", "ann@example.com")
    assert await post.deliver() == 1
    assert post.inbox.recipients == ["ann@example.com"]
    assert await post.waiting() == [("full@example.com", 1, post.at(10))]


async def test_a_mail_that_cannot_be_written_holds_up_no_other_and_is_given_up(post: Post) -> None:
    await post.queue("first@example.com", subject="a line\x85and another", due_at=NOW - 1)
    await post.queue("ann@example.com")
    assert await post.deliver() == 1
    assert post.inbox.recipients == ["ann@example.com"]
    for _ in PAUSES:
        post.clock.now += 3_600
        await post.deliver()
    assert await post.waiting() == []


async def test_a_folder_that_cannot_be_written_postpones_and_loses_no_mail(post: Post, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    await post.queue("ann@example.com", "bob@example.com")
    assert await post.deliver(FileMailer(tmp_path / "file", sender=SENDER)) == 0
    assert await post.waiting() == [("ann@example.com", 1, post.at(10)), ("bob@example.com", 1, post.at(10))]


# Several at once, and one that dies


async def test_one_that_dies_on_the_way_leaves_the_mail_to_the_next(post: Post) -> None:
    await post.queue("ann@example.com")
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    post.inbox.on_mail = hang
    task = asyncio.create_task(post.deliver(post.hasty_mailer))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    post.inbox.on_mail = None
    post.clock.now += LEASE - 1
    assert await post.deliver() == 0
    post.clock.now += 1
    assert await post.deliver() == 1
    assert await post.waiting() == []


async def test_several_at_once_never_send_one_mail_twice(post: Post, database_url: str) -> None:
    people = [f"user{number}@example.com" for number in range(100)]
    await post.queue(*people)

    async def until_empty(database: Database) -> int:
        async with database.session() as session:
            waiting = select(func.count()).select_from(QueuedMail)
        delivered = 0
        while True:
            delivered += await post.deliver(database=database)
            async with database.session() as session:
                if not await session.scalar(waiting):
                    return delivered

    async with open_database(database_url) as second, open_database(database_url) as third:
        counts = await asyncio.gather(*(until_empty(each) for each in (post.database, second, third)))
    assert sum(counts) == 100
    assert sorted(post.inbox.recipients) == sorted(people)


async def test_a_slow_server_makes_no_mail_sent_twice(post: Post, database_url: str) -> None:
    """Many may take longer than a lease; what was leased to another meanwhile is the other's."""
    people = [f"user{number}@example.com" for number in range(20)]
    await post.queue(*people)
    sent = 0

    async def slowly() -> None:
        nonlocal sent
        post.clock.now += 9
        sent += 1
        if sent == 14:
            async with open_database(database_url) as second:
                await post.deliver(database=second)

    post.inbox.on_mail = slowly
    await post.deliver()
    assert sorted(post.inbox.recipients) == sorted(people)
