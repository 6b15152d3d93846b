"""Mails by SMTP, to a real server on this machine that behaves well, badly or not at all."""

import asyncio
import datetime as dt
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hardpoint.mail import Mail, MailRefused, MailUnavailable
from hardpoint.mail.smtp import SmtpMailer
from support.servers import free_port

SENDER = "Hardpoint <hardpoint@example.com>"
MAIL = Mail(to="ann@example.com", subject="Gr\u00fc\u00dfe", text="Hier:\n\nhttps://a.example/?token=abc\n.\n..x\n")
NAME, PASSWORD = "us er@example.com", "p:w/@%#?\u00e9"


class Inbox:
    """What the server took; an answer in `answers` is given to the command of its name instead of taking it."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.mails: list[tuple[str, list[str], EmailMessage]] = []
        self.logins: list[tuple[str, str]] = []

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802 - the hook's name.
        if "MAIL" not in self.answers:
            envelope.mail_from = address
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802 - the hook's name.
        if "RCPT" not in self.answers:
            envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the hook's name.
        if "DATA" in self.answers:
            return self.answers["DATA"]
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append((envelope.mail_from, list(envelope.rcpt_tos), message))
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, login: Any) -> AuthResult:
        assert isinstance(login, LoginPassword)
        self.logins.append((login.login.decode(), login.password.decode()))
        return AuthResult(success=self.logins[-1] == (NAME, PASSWORD), handled=False)


@asynccontextmanager
async def listening(
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server that does what `connected` does with each connection; gives its port."""
    connections: list[asyncio.Future[Any]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await connected(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.ensure_future(handle(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        # It ends only because the mailer has closed its side.
        async with asyncio.timeout(10):
            await asyncio.gather(*connections)


@asynccontextmanager
async def serving(inbox: Inbox, *, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    """A mail server on a free port, which it gives; `tls` from the start."""
    loop = asyncio.get_running_loop()
    connections: list[SMTP] = []

    def connection() -> SMTP:
        connections.append(SMTP(inbox, hostname="mail.example.com", loop=loop, **options))
        return connections[-1]

    server = await loop.create_server(connection, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        tasks = [each._handler_coroutine for each in connections if each._handler_coroutine is not None]
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)


def mailer_to(port: int, *, scheme: str = "smtp", login: str = "", **options: Any) -> SmtpMailer:
    return SmtpMailer(f"{scheme}://{login}127.0.0.1:{port}", sender=SENDER, **{"timeout_seconds": 5.0, **options})


LOGIN = f"{quote(NAME, safe='')}:{quote(PASSWORD, safe='')}@"


async def fails(mailer: SmtpMailer, kind: type[Exception], mail: Mail = MAIL) -> str:
    with pytest.raises(kind) as failed:
        await mailer.send(mail)
    return str(failed.value)


# Delivery


async def test_a_mail_arrives_whole() -> None:
    inbox = Inbox()
    async with serving(inbox) as port:
        await mailer_to(port, clock=lambda: 1_800_000_000.0).send(MAIL)
    ((sender, recipients, message),) = inbox.mails
    assert sender == "hardpoint@example.com"
    assert recipients == ["ann@example.com"]
    assert (message["From"], message["To"], message["Subject"]) == (SENDER, "ann@example.com", MAIL.subject)
    assert message["Date"].datetime.timestamp() == 1_800_000_000
    assert message.get_content().replace("\r\n", "\n") == MAIL.text


async def test_a_text_in_another_script_arrives_as_it_was_written() -> None:
    inbox = Inbox()
    text = "\u65e5\u672c\u8a9e Gr\u00fc\u00dfe\n"
    async with serving(inbox) as port:
        await mailer_to(port).send(Mail(to="ann@example.com", subject="\u65e5\u672c\u8a9e", text=text))
    assert inbox.mails[0][2].get_content().replace("\r\n", "\n") == text


async def test_each_mail_has_its_own_recipient_alone() -> None:
    inbox = Inbox()
    people = [f"user{number}@example.com" for number in range(10)]
    async with serving(inbox) as port:
        mailer = mailer_to(port)
        await asyncio.gather(*(mailer.send(Mail(to=address, subject=address, text=address)) for address in people))
    assert sorted((recipients, message["Subject"]) for _, recipients, message in inbox.mails) == [
        ([address], address) for address in people
    ]


async def test_an_international_address_needs_a_server_that_knows_them() -> None:
    mail = Mail(to="\u00fc@example.com", subject="s", text="t")
    knowing, old = Inbox(), Inbox()
    async with serving(knowing, enable_SMTPUTF8=True) as port:
        await mailer_to(port).send(mail)
    assert knowing.mails[0][1] == ["\u00fc@example.com"]
    async with serving(old) as port:
        # It will not know them tomorrow either.
        await fails(mailer_to(port), MailRefused, mail)
    assert old.mails == []


# Injection


@pytest.mark.parametrize(
    "mail",
    [
        Mail(to="ann@example.com\r\nRCPT TO:<eve@example.com>", subject="s", text=""),
        Mail(to="ann@example.com>\r\nRCPT TO:<eve@example.com", subject="s", text=""),
        Mail(to="ann@example.com\nBcc: eve@example.com", subject="s", text=""),
        Mail(to="ann@example.com", subject="s\r\nBcc: eve@example.com", text=""),
        Mail(to="ann@example.com", subject="s\r\n.\r\nMAIL FROM:<eve@example.com>", text=""),
        Mail(to="ann@example.com\x00", subject="s", text=""),
        Mail(to="ann@example.com, eve@example.com", subject="s", text=""),
    ],
)
async def test_an_injection_is_refused_and_nothing_is_sent(mail: Mail) -> None:
    inbox = Inbox()
    async with serving(inbox) as port:
        await fails(mailer_to(port), MailRefused, mail)
    assert inbox.mails == []


@pytest.mark.parametrize("end", ["\n.\n", "\r\n.\r\n", "\n.\r\n", "\r.\r", "\n.\r", "\r\n.\n"])
async def test_a_text_cannot_end_the_mail_and_begin_another(end: str) -> None:
    """SMTP smuggling: every line break arrives as one, every dot at the beginning of a line is doubled on the way."""
    inbox = Inbox()
    text = f"before{end}MAIL FROM:<eve@example.com>{end}RCPT TO:<bob@example.com>{end}DATA{end}after{end}QUIT\n"
    async with serving(inbox) as port:
        await mailer_to(port).send(Mail(to="ann@example.com", subject="s", text=text))
    ((_, recipients, message),) = inbox.mails
    assert recipients == ["ann@example.com"]
    lines = message.get_content().splitlines()
    assert lines == text.splitlines()


# Refusals


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"MAIL": "451 later"}, MailUnavailable),
        ({"MAIL": "550 not you"}, MailRefused),
        ({"RCPT": "450 mailbox busy"}, MailUnavailable),
        ({"RCPT": "452 mailbox full"}, MailUnavailable),
        ({"RCPT": "550 no such user"}, MailRefused),
        ({"RCPT": "553 no such name"}, MailRefused),
        ({"DATA": "451 greylisted"}, MailUnavailable),
        ({"DATA": "421 shutting down"}, MailUnavailable),
        ({"DATA": "554 looks like spam"}, MailRefused),
        ({"DATA": "552 too large"}, MailRefused),
    ],
)
async def test_a_refusal_is_for_later_or_for_good_as_the_server_says(
    answers: dict[str, str], kind: type[Exception]
) -> None:
    inbox = Inbox(**answers)
    async with serving(inbox) as port:
        said = await fails(mailer_to(port), kind)
    assert inbox.mails == []
    # It goes into the log.
    assert "ann@example.com" not in said


async def test_a_mail_beyond_the_servers_limit_is_refused_for_good() -> None:
    inbox = Inbox()
    large = Mail(to="ann@example.com", subject="s", text="x" * 70 + "\n" + ("y" * 70 + "\n") * 100)
    async with serving(inbox, data_size_limit=1_000) as port:
        await mailer_to(port).send(MAIL)
        await fails(mailer_to(port), MailRefused, large)
    assert len(inbox.mails) == 1


# Authentication


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_name_and_password_are_those_of_the_address() -> None:
    inbox = Inbox()
    async with serving(inbox, authenticator=inbox.authenticate, auth_required=True, auth_require_tls=False) as port:
        await mailer_to(port, login=LOGIN).send(MAIL)
    assert len(inbox.mails) == 1
    assert inbox.logins == [(NAME, PASSWORD)]


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("login", ["user:wrong@", "user@", ":wrong@", ""])
async def test_a_login_that_fails_loses_no_mail(login: str) -> None:
    """It is the operator's mistake, not the mail's."""
    inbox = Inbox()
    async with serving(inbox, authenticator=inbox.authenticate, auth_required=True, auth_require_tls=False) as port:
        said = await fails(mailer_to(port, login=login), MailUnavailable)
    assert inbox.mails == []
    assert "wrong" not in said


async def test_a_server_that_offers_no_login_loses_no_mail() -> None:
    inbox = Inbox()
    async with serving(inbox, auth_exclude_mechanism=["LOGIN", "PLAIN"], auth_require_tls=False) as port:
        said = await fails(mailer_to(port, login=LOGIN), MailUnavailable)
    assert inbox.mails == []
    assert PASSWORD not in said


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1, signed by itself."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, None)
    )
    file = tmp_path_factory.mktemp("certificate") / "mail.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    return file


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


async def test_tls_is_used_when_it_is_offered(
    context: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    inbox = Inbox()
    options = {"tls_context": context, "require_starttls": True, "authenticator": inbox.authenticate}
    async with serving(inbox, auth_required=True, **options) as port:
        await mailer_to(port, login=LOGIN).send(MAIL)
    assert len(inbox.mails) == 1


async def test_smtps_speaks_tls_from_the_start(
    context: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    inbox = Inbox()
    async with serving(inbox, tls=context) as port:
        await mailer_to(port, scheme="smtps").send(MAIL)
    assert len(inbox.mails) == 1


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_certificate_that_nobody_vouches_for_gets_neither_mail_nor_password(
    scheme: str, context: ssl.SSLContext
) -> None:
    inbox = Inbox()
    options = {"authenticator": inbox.authenticate, "auth_require_tls": False}
    tls: dict[str, Any] = {"tls": context} if scheme == "smtps" else {"tls_context": context}
    async with serving(inbox, **tls, **options) as port:
        await fails(mailer_to(port, scheme=scheme, login=LOGIN), MailUnavailable)
    assert inbox.mails == []
    assert inbox.logins == []


async def test_smtps_never_falls_back_to_plain_text() -> None:
    inbox = Inbox()
    async with serving(inbox, authenticator=inbox.authenticate, auth_require_tls=False) as port:
        await fails(mailer_to(port, scheme="smtps", login=LOGIN, timeout_seconds=1.0), MailUnavailable)
    assert inbox.mails == []
    assert inbox.logins == []


# A server that is away, silent or broken


async def test_a_server_that_is_away_is_for_later() -> None:
    assert "cannot be reached" in await fails(mailer_to(free_port()), MailUnavailable)


async def test_a_server_whose_name_is_unknown_is_for_later() -> None:
    mailer = SmtpMailer("smtp://nobody.invalid:25", sender=SENDER, timeout_seconds=5.0)
    await fails(mailer, MailUnavailable)


async def test_a_server_that_never_greets_is_for_later() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        await fails(mailer_to(port, timeout_seconds=0.1), MailUnavailable)


@pytest.mark.parametrize("step", [b"EHLO", b"MAIL", b"RCPT", b"DATA", b"."])
@pytest.mark.parametrize("leaves", [True, False])
async def test_a_server_that_falls_silent_or_leaves_at_any_step_is_for_later(step: bytes, leaves: bool) -> None:
    async def until(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com\r\n")
        in_data = False
        while line := await reader.readline():
            if line.rstrip() == step if step == b"." else line.startswith(step):
                break
            if in_data and line != b".\r\n":
                continue
            in_data = line.startswith(b"DATA")
            writer.write(b"354 go on\r\n" if in_data else b"250 OK\r\n")
        if not leaves:
            await reader.read()

    async with listening(until) as port:
        await fails(mailer_to(port, timeout_seconds=0.2), MailUnavailable)


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"\r\n",
        b"garbage\r\n",
        b"999 what\r\n",
        b"\xff\xfe\r\n",
        b"220" + b"x" * 100_000,
        b"421 too many connections\r\n",
        b"554 no service for you\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
async def test_a_server_that_does_not_greet_as_a_mail_server_loses_no_mail(greeting: bytes) -> None:
    """Whoever answers there has not looked at the mail yet."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with listening(greet) as port:
        await fails(mailer_to(port, timeout_seconds=0.5), MailUnavailable)


async def test_a_cancelled_mail_is_cancelled_and_its_connection_closed() -> None:
    waiting = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com\r\n")
        await reader.readline()
        waiting.set()
        await reader.read()

    async with listening(silent) as port:
        task = asyncio.create_task(mailer_to(port).send(MAIL))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_cancelled_mail_waits_for_no_answer_of_the_server() -> None:
    """Whoever stops the service does not wait for a server that has fallen silent."""
    waiting = asyncio.Event()
    rest: list[bytes] = []

    async def silent_after_the_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com\r\n")
        while not (line := await reader.readline()).startswith(b"DATA"):
            writer.write(b"250 OK\r\n")
        writer.write(b"354 go on\r\n")
        while line != b".\r\n":
            line = await reader.readline()
        waiting.set()
        rest.append(await reader.readline())
        writer.write(b"221 bye\r\n")

    async with listening(silent_after_the_text) as port:
        task = asyncio.create_task(mailer_to(port).send(MAIL))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert rest == [b""]


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.com",
        "mail.example.com:25",
        "smtp://",
        "smtp:///path",
        "smtp://:25",
        "http://mail.example.com",
        "smtp://user:canary@",
        "smtp://[::1",
        "smtp://mail.example.com:port",
        "smtp://mail.example.com:99999",
        "smtp://user:canary/rest@mail.example.com",
        "smtp://user:12#canary@mail.example.com",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        SmtpMailer(url, sender=SENDER)
    assert "canary" not in str(refused.value)


def test_a_mailer_never_shows_its_password() -> None:
    assert "canary" not in repr(SmtpMailer("smtp://user:canary@mail.example.com", sender=SENDER))
