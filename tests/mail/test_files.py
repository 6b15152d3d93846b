"""Mails as files: whole, readable by every mail program, the owner's alone; and no header that nobody asked for."""

import email
import email.policy
import os
from email.message import EmailMessage
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardpoint.mail import FileMailer, Mail, MailRefused, MailUnavailable, make_mailer
from hardpoint.mail.message import as_message
from hardpoint.mail.smtp import SmtpMailer

NOW = 1_800_000_000.25
SENDER = "Hardpoint <hardpoint@example.com>"
MAIL = Mail(to="ann@example.com", subject="A new password", text="Choose it here.\n")
HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
LINK = "https://service.example.com/auth/reset-password?token=" + "a_-B" * 40


def read(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def headers_of(content: bytes) -> list[str]:
    """The names of the headers as a plain reader of lines finds them."""
    head = content.partition(b"\r\n\r\n")[0].decode("ascii")
    return [line.partition(":")[0] for line in head.split("\r\n") if line[0] not in " \t"]


def text_of(message: EmailMessage) -> str:
    """The body, with the line breaks of a text; on the way they are CR LF."""
    text: str = message.get_content()
    return text.replace("\r\n", "\n")


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def mailer_for(folder: Path, now: float = NOW) -> FileMailer:
    return FileMailer(folder, sender=SENDER, clock=lambda: now)


# Files


async def test_a_mail_is_a_file_that_mail_programs_read(tmp_path: Path) -> None:
    await mailer_for(tmp_path / "mail").send(MAIL)
    (file,) = files_in(tmp_path / "mail")
    assert file.name.startswith("20270115T080000.250000-")
    assert file.suffix == ".eml"
    message = read(file.read_bytes())
    assert message["From"] == SENDER
    assert message["To"] == "ann@example.com"
    assert message["Subject"] == "A new password"
    assert message["Date"].datetime.timestamp() == int(NOW)
    assert message["Message-ID"].endswith("@example.com>")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "text/plain"
    assert text_of(message) == MAIL.text


async def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Mails hold tokens."""
    umask = os.umask(0)
    try:
        await mailer_for(tmp_path / "data" / "mail").send(MAIL)
    finally:
        os.umask(umask)
    assert (tmp_path / "data" / "mail").stat().st_mode & 0o777 == 0o700


async def test_the_folder_may_be_told_as_a_text(tmp_path: Path) -> None:
    await FileMailer(str(tmp_path / "mails"), sender=SENDER).send(MAIL)
    assert len(list((tmp_path / "mails").iterdir())) == 1


async def test_names_sort_by_time_and_never_collide(tmp_path: Path) -> None:
    now = [NOW]
    mailer = FileMailer(tmp_path, sender=SENDER, clock=lambda: now[0])
    for number in range(3):
        now[0] = NOW + 3_600 * number
        await mailer.send(Mail(to="ann@example.com", subject=str(number), text=""))
    assert [read(file.read_bytes())["Subject"] for file in files_in(tmp_path)] == ["0", "1", "2"]
    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(mailer.send, MAIL)
    assert len(files_in(tmp_path)) == 43


async def test_a_reader_of_the_folder_never_sees_half_a_mail(tmp_path: Path) -> None:
    """What is being written has another name, which no reader of `.eml` files takes."""
    large = Mail(to="ann@example.com", subject="large", text=("x" * 70 + "\n") * 20_000 + "the end\n")
    mailer, whole, done = mailer_for(tmp_path), set(), anyio.Event()

    def look() -> None:
        whole.update(file.read_bytes().endswith(b"\r\nthe end\r\n") for file in tmp_path.glob("*.eml"))

    async def watch() -> None:
        while not done.is_set():
            await anyio.to_thread.run_sync(look)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        for _ in range(5):
            await mailer.send(large)
        done.set()
    look()
    assert whole == {True}
    assert [file.suffix for file in files_in(tmp_path)] == [".eml"] * 5


async def test_a_folder_that_cannot_be_written_is_for_later(tmp_path: Path) -> None:
    """A full or missing disk is no reason to lose a mail."""
    (tmp_path / "file").write_text("")
    with pytest.raises(MailUnavailable):
        await mailer_for(tmp_path / "file").send(MAIL)


# Messages


@pytest.mark.parametrize(
    "text", [f"Here:\n\n{LINK}\n", f"Gr\u00fc\u00dfe:\n\n{LINK}\n", "\u65e5\u672c\u8a9e\n", "From me\n.\n..\n"]
)
async def test_a_text_is_kept_as_it_is_and_its_links_stay_whole(text: str, tmp_path: Path) -> None:
    await mailer_for(tmp_path).send(Mail(to="ann@example.com", subject="s", text=text))
    (file,) = files_in(tmp_path)
    assert text_of(read(file.read_bytes())) == text
    assert text.replace("\n", "\r\n").encode() in file.read_bytes()


@pytest.mark.parametrize(
    "subject", ["Gr\u00fc\u00dfe aus K\u00f6ln", "\u65e5\u672c\u8a9e " * 30, "long " * 30 + "end", "x: y", "\U0001f4ee"]
)
def test_a_subject_of_any_language_and_length_is_kept(subject: str) -> None:
    content = as_message(Mail(to="ann@example.com", subject=subject, text=""), sender=SENDER).as_bytes()
    assert read(content)["Subject"].split() == subject.split()
    assert max(len(line) for line in content.split(b"\r\n")) <= 998


BREAKS = ["\r\nBcc: eve@example.com", "\nBcc: eve@example.com", "\rBcc: eve@example.com", "\r\n\r\nbody", "\n", "\x00"]


@pytest.mark.parametrize("injected", BREAKS)
@pytest.mark.parametrize("field", ["to", "subject"])
async def test_a_line_break_in_a_header_is_refused_for_good(field: str, injected: str, tmp_path: Path) -> None:
    values = {"to": "ann@example.com", "subject": "s", "text": ""}
    for value in (values[field] + injected, injected + values[field]):
        with pytest.raises(MailRefused):
            await mailer_for(tmp_path / "mail").send(Mail(**{**values, field: value}))
    with pytest.raises(MailRefused):
        as_message(MAIL, sender=f"{SENDER}{injected}")
    assert not (tmp_path / "mail").exists()


@pytest.mark.parametrize("character", ["\x0b", "\x1e", "\x85", "\u2028", "\ud800"])
@pytest.mark.parametrize("field", ["to", "subject"])
def test_what_cannot_stand_in_a_header_is_refused_or_encoded(field: str, character: str) -> None:
    values = {"to": "ann@example.com", "subject": "s", "text": ""}
    values[field] = f"a{character}Bcc: eve@example.com"
    try:
        content = as_message(Mail(**values), sender=SENDER).as_bytes()
    except MailRefused:
        return
    assert not {"Bcc", "bcc"} & set(headers_of(content))


def test_a_text_that_is_no_unicode_is_refused_for_good() -> None:
    with pytest.raises(MailRefused):
        as_message(Mail(to="ann@example.com", subject="s", text="\ud800"), sender=SENDER)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=200))
def test_no_value_adds_a_header(to: str, subject: str, text: str) -> None:
    try:
        content = as_message(Mail(to=f"ann@example.com{to}", subject=subject, text=text), sender=SENDER).as_bytes()
    except MailRefused:
        return
    names = headers_of(content)
    assert names[: len(HEADERS)] == HEADERS
    assert set(names[len(HEADERS) :]) == {"Content-Type", "Content-Transfer-Encoding", "MIME-Version"}


@pytest.mark.parametrize(
    "to",
    [
        "ann@example.com, eve@example.com",
        "ann@example.com,eve@example.com",
        "friends: ann@example.com, eve@example.com;",
        "",
        " ",
    ],
)
def test_what_is_not_one_address_is_refused_for_good(to: str) -> None:
    """A list in its place would send the token to somebody else as well."""
    with pytest.raises(MailRefused):
        as_message(Mail(to=to, subject="s", text=""), sender=SENDER)


def test_every_message_has_an_id_of_its_own() -> None:
    assert len({as_message(MAIL, sender=SENDER)["Message-ID"] for _ in range(50)}) == 50


# Choosing


def test_without_a_server_mails_are_files_and_with_one_they_are_sent(tmp_path: Path) -> None:
    assert isinstance(make_mailer(None, folder=tmp_path, sender=SENDER), FileMailer)
    assert isinstance(make_mailer("smtp://127.0.0.1:25", folder=tmp_path, sender=SENDER), SmtpMailer)
    with pytest.raises(ValueError, match="smtp://"):
        make_mailer("127.0.0.1:25", folder=tmp_path, sender=SENDER)
