"""The command line as an operator meets it: real processes, their lines, their exit codes, and never a traceback."""

import re
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

import hardpoint
from support.servers import PostgresServer
from support.service import PASSWORD, run_cli

SECRET = "a secret of thirty-two bytes or more"
AWAY = "postgresql+asyncpg://ann:canary@127.0.0.1:1/x"
HEAD = re.compile(r"[0-9a-f]{4,}\n")
Done = subprocess.CompletedProcess[str]


def lines_of(done: Done, status: int) -> list[str]:
    """The lines on standard error of a command that ended with `status`; the first thing that must hold of any."""
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "canary" not in done.stderr + done.stdout
    return done.stderr.splitlines()


def create(folder: Path, *arguments: str, password: str = PASSWORD, **settings: str) -> Done:
    return run_cli("users", "create", *arguments, cwd=folder, stdin=f"{password}\n", **settings)


# The command itself


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = run_cli("--version", cwd=tmp_path)
    assert lines_of(done, 0) == []
    assert done.stdout == f"hardpoint {hardpoint.__version__}\n"


def test_help_lists_every_command_and_imports_none(tmp_path: Path) -> None:
    done = run_cli("--help", cwd=tmp_path)
    assert lines_of(done, 0) == []
    for name in ("db", "dev", "serve", "stack", "users"):
        assert re.search(rf"^  {name} +\w", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["db"],
        ["users", "create"],
        ["serve", "--port", "65536"],
        ["serve", "--reload", "--workers", "2"],
    ],
    ids=" ".join,
)
def test_wrong_usage_says_how_to_use_it(arguments: list[str], tmp_path: Path) -> None:
    lines = lines_of(run_cli(*arguments, cwd=tmp_path), 2)
    assert lines[0].startswith("Usage: hardpoint")
    assert list(tmp_path.iterdir()) == []


# Settings

REFUSED = [
    {
        "environment": "staging",
        "secret_key": "canary",
        "database_url": "postgres://ann:canary@db.example.com/x",
        "redis_url": "http://:canary@cache.example.com",
        "cors_origins": "*",
        "trusted_proxies": "proxy.example.com",
        "rate_limit": "fast",
        "login_rate_limit": "0/second",
        "access_token_ttl": "soon",
        "refresh_token_ttl": "0",
        "email_verification": "maybe",
        "ws_query_access_tokens": "perhaps",
        "max_body_bytes": "-1",
        "smtp_url": "http://ann:canary@mail.example.com",
        "smtp_from": "nobody",
        "public_url": "ftp://ann:canary@example.com",
        "log_format": "xml",
    },
    {
        "secret_key": "canary" * 20,
        "database_url": "mysql+aiomysql://ann:canary@db.example.com/x",
        "redis_url": "canary",
        "cors_origins": '["https://a.example/path"]',
        "trusted_proxies": "10.0.0.0/99",
        "rate_limit": "10/day",
        "login_rate_limit": "1e3/second",
        "access_token_ttl": "99999999",
        "refresh_token_ttl": "1.5",
        "max_body_bytes": "1e6",
        "smtp_url": "ann:canary@mail.example.com",
        "smtp_from": "ann@example.com\nBcc: canary@example.com",
        "public_url": "https://example.com/?token=canary",
    },
    {
        "environment": "production",
        "secret_key": "change-me-change-me-change-me-0123456789",
        "cors_origins": "[canary",
        "trusted_proxies": "0.0.0.0/0",
        "public_url": "example.com",
    },
]


@pytest.mark.parametrize("refused", REFUSED)
def test_every_refused_setting_is_one_line_and_all_are_told_at_once(refused: dict[str, str], tmp_path: Path) -> None:
    done = run_cli("db", "current", cwd=tmp_path, **refused)
    lines = lines_of(done, 2)
    assert done.stdout == ""
    assert names_in(lines) == names_of(refused, but=["production"])
    assert all(re.fullmatch(r"HARDPOINT_[A-Z_]+: \S.{10,}", line) for line in lines)
    assert list(tmp_path.iterdir()) == []


def names_in(lines: list[str]) -> list[str]:
    return sorted(line.partition(": ")[0] for line in lines)


def names_of(settings: dict[str, str], but: Sequence[str] = ()) -> list[str]:
    return sorted(f"HARDPOINT_{name.upper()}" for name, value in settings.items() if value not in but)


COMMANDS = [
    ["serve"],
    ["serve", "--workers", "2", "module:app"],
    ["db", "upgrade"],
    ["users", "create", "--email", "ann@example.com"],
    ["stack"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_command_refuses_before_it_does_anything(arguments: list[str], tmp_path: Path) -> None:
    done = run_cli(*arguments, cwd=tmp_path, stdin=PASSWORD, environment="production", secret_key="canary")
    assert lines_of(done, 2) == ["HARDPOINT_SECRET_KEY: must be at least 32 bytes long"]
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA-canary\n-----END PRIVATE KEY-----",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGhhcmRwb2ludCBkb2VzIG5vdCB1c2UgdGhpcyBvbmU",
    ],
)
def test_a_key_in_place_of_the_secret_is_one_line(secret: str, tmp_path: Path) -> None:
    (line,) = lines_of(run_cli("serve", cwd=tmp_path, secret_key=secret), 2)
    assert line == "HARDPOINT_SECRET_KEY: is the text of a key; name its file in HARDPOINT_SIGNING_KEY_FILES"


def test_a_setting_of_the_env_file_is_refused_alike(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HARDPOINT_RATE_LIMIT=canary\n")
    (line,) = lines_of(run_cli("db", "current", cwd=tmp_path), 2)
    assert line == "HARDPOINT_RATE_LIMIT: must be N/second, N/minute, N/hour or off"


UNREADABLE = [
    {
        "smtp_url": "smtp://mail.example.com:port",
        "database_url": "sqlite+aiosqlite",
        "redis_url": "redis://:canary@cache.example.com:port",
        "public_url": "https://example.com:port",
        "cors_origins": "https://a.example:port",
    },
    {
        # Not percent-encoded: from the stroke on it is no longer the password.
        "smtp_url": "smtp://ann:12/canary@mail.example.com",
        "database_url": "postgresql+asyncpg://ann:canary@db.example.com:port/x",
    },
]


@pytest.mark.parametrize("unreadable", UNREADABLE)
def test_an_address_that_cannot_be_read_is_a_refused_setting(unreadable: dict[str, str], tmp_path: Path) -> None:
    assert names_in(lines_of(run_cli("db", "current", cwd=tmp_path, **unreadable), 2)) == names_of(unreadable)


@pytest.mark.parametrize("arguments", [["serve"], ["db", "current"], ["stack"]], ids=" ".join)
def test_a_data_folder_that_cannot_be_used_is_a_refused_setting(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (line,) = lines_of(run_cli(*arguments, cwd=tmp_path, data_dir="file"), 2)
    assert line.startswith("HARDPOINT_DATA_DIR: ")


@pytest.mark.parametrize(
    "arguments", [["serve"], ["users", "create", "--email", "ann@example.com"], ["stack"]], ids=" ".join
)
def test_a_kept_secret_that_may_not_sign_is_one_line(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / ".hardpoint").mkdir()
    (tmp_path / ".hardpoint" / "secret_key").write_text("canary")
    (line,) = lines_of(run_cli(*arguments, cwd=tmp_path, stdin=PASSWORD), 2)
    assert line == ".hardpoint/secret_key: must be at least 32 bytes long"


# The database


def test_the_embedded_database_is_brought_up_by_hand_too(tmp_path: Path) -> None:
    empty = run_cli("db", "current", cwd=tmp_path)
    (line,) = lines_of(empty, 1)
    assert empty.stdout == "empty\n"
    assert "hardpoint db upgrade" in line
    upgraded = run_cli("db", "upgrade", cwd=tmp_path)
    assert lines_of(upgraded, 0) == []
    assert HEAD.fullmatch(upgraded.stdout)
    current = run_cli("db", "current", cwd=tmp_path)
    assert lines_of(current, 0) == []
    assert current.stdout == upgraded.stdout


def test_an_old_schema_on_postgresql_is_refused_until_it_is_upgraded(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    url = postgres_server.create_database()
    try:
        served = run_cli("serve", cwd=tmp_path, database_url=url)
        assert any("hardpoint db upgrade" in line for line in lines_of(served, 1))
        assert served.stdout == ""
        current = run_cli("db", "current", cwd=tmp_path, database_url=url)
        assert "hardpoint db upgrade" in lines_of(current, 1)[-1]
        assert current.stdout == "empty\n"
        upgraded = run_cli("db", "upgrade", cwd=tmp_path, database_url=url)
        assert lines_of(upgraded, 0) == []
        assert HEAD.fullmatch(upgraded.stdout)
        assert lines_of(run_cli("db", "current", cwd=tmp_path, database_url=url), 0) == []
    finally:
        postgres_server.drop_database(url)


def test_an_account_on_an_old_schema_names_the_command_to_run(tmp_path: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    try:
        done = create(tmp_path, "--email", "ann@example.com", database_url=url)
    finally:
        postgres_server.drop_database(url)
    assert any("hardpoint db upgrade" in line for line in lines_of(done, 1))


def test_an_account_on_an_empty_sqlite_file_names_the_command_to_run(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'own.db'}"
    lines = lines_of(create(tmp_path, "--email", "ann@example.com", database_url=url), 1)
    assert any("hardpoint db upgrade" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        (["serve"], AWAY),
        (["db", "current"], AWAY),
        (["users", "create", "--email", "ann@example.com"], AWAY),
        (["db", "upgrade"], "sqlite+aiosqlite:////nobody/has/this/folder/x.db"),
    ],
)
def test_a_database_that_is_away_is_one_line(arguments: list[str], url: str, tmp_path: Path) -> None:
    done = run_cli(*arguments, cwd=tmp_path, stdin=PASSWORD, database_url=url)
    assert lines_of(done, 1) == ["The database cannot be reached"]


def test_a_database_that_does_not_exist_is_told_in_lines(tmp_path: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    postgres_server.drop_database(url)
    assert lines_of(run_cli("db", "upgrade", cwd=tmp_path, database_url=url), 1)


def test_a_schema_from_the_future_is_told_in_lines(tmp_path: Path) -> None:
    """An older version on a newer database; to upgrade it is no way out."""
    lines_of(run_cli("db", "upgrade", cwd=tmp_path), 0)
    with closing(sqlite3.connect(tmp_path / ".hardpoint" / "hardpoint.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fffe'")
    for arguments in (["db", "upgrade"], ["serve"], ["db", "current"]):
        lines = lines_of(run_cli(*arguments, cwd=tmp_path), 1)
        assert any("fffe" in line or "newer" in line for line in lines)
        assert not any("Run: hardpoint db upgrade" in line for line in lines)


# Accounts


def test_an_account_is_made_and_its_id_printed(tmp_path: Path) -> None:
    first = create(tmp_path, "--email", "ann@example.com", "--role", "admin", "--name", "Ann")
    second = create(tmp_path, "--email", "bob@example.com")
    assert (lines_of(first, 0), lines_of(second, 0)) == ([], [])
    assert (first.stdout, second.stdout) == ("1\n", "2\n")
    taken = create(tmp_path, "--email", "\uff21NN@example.com")
    (line,) = lines_of(taken, 1)
    assert line.startswith("email: ")
    assert taken.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "password", "fields"),
    [
        (["--email", "ann@example.com", "--role", "root"], PASSWORD, ["role"]),
        (["--email", "nobody", "--role", "Admin", "--name", "a\x1b[31mb"], PASSWORD, ["email", "name", "role"]),
        (["--email", "ann@example.com"], "canary", ["password"]),
        (["--email", "ann@example.com"], "", ["password"]),
        (["--email", "canaries@example.com"], "canaries@example.com", ["password"]),
    ],
)
def test_an_account_that_does_not_hold_is_one_line_for_each_fault(
    arguments: list[str], password: str, fields: list[str], tmp_path: Path
) -> None:
    refused = create(tmp_path, *arguments, password=password)
    assert names_in(lines_of(refused, 1)) == fields
    assert refused.stdout == ""


def test_a_password_is_the_first_line_and_its_line_break_is_no_part_of_it(tmp_path: Path) -> None:
    (line,) = lines_of(create(tmp_path, "--email", "ann@example.com", password="fourteen chars\nmore"), 1)
    assert line.startswith("password: ")
    assert lines_of(create(tmp_path, "--email", "ann@example.com", password=f"{PASSWORD}\r\nmore"), 0) == []


# The stack

WRONG = """\
from fastapi import FastAPI
from hardpoint.middleware import CORSMiddleware, ErrorsMiddleware

app = FastAPI()
# The last one added is the outermost.
app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])
app.add_middleware(ErrorsMiddleware)
"""
DECLARED = """\
from fastapi import FastAPI
from starlette.middleware import Middleware
from hardpoint.middleware import CORSMiddleware, ErrorsMiddleware, Stack

app = FastAPI(
    middleware=Stack(
        Middleware(ErrorsMiddleware),
        Middleware(CORSMiddleware, allow_origins=["https://a.example"]),
    )
)
"""
RIGHT = """\
from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware
from hardpoint.middleware import CORSMiddleware, ErrorsMiddleware


class Own(BaseHTTPMiddleware): ...


def make():
    app = FastAPI()
    app.add_middleware(Own)
    app.add_middleware(ErrorsMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])
    return app


bare = FastAPI()
text = "not an application"
needs_more = lambda argument: bare
"""


def test_the_services_own_stack_is_printed_outermost_first_and_is_right(tmp_path: Path) -> None:
    done = run_cli("stack", cwd=tmp_path)
    assert lines_of(done, 0) == []
    names = re.findall(r"^ *\d+  (\w+)\(", done.stdout, re.MULTILINE)
    assert len(names) == len(done.stdout.splitlines())
    assert names[0] == "ClientAddressMiddleware"
    for outer, inner in (
        ("RequestIdMiddleware", "CORSMiddleware"),
        ("CORSMiddleware", "ErrorsMiddleware"),
        ("ErrorsMiddleware", "RateLimitMiddleware"),
        ("RateLimitMiddleware", "BodyLimitMiddleware"),
    ):
        assert names.index(outer) < names.index(inner)
    assert names[-1] == "CompiledRoutesMiddleware"


def test_the_stack_shows_no_secret(tmp_path: Path) -> None:
    settings = {"secret_key": f"canary {SECRET}", "smtp_url": "smtp://ann:canary@mail.example.com"}
    assert lines_of(run_cli("stack", cwd=tmp_path, **settings), 0) == []


def test_a_wrong_order_is_printed_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    done = run_cli("stack", "wrong:app", cwd=tmp_path)
    assert lines_of(done, 1) == [
        "wrong: CORSMiddleware must stand outside of ErrorsMiddleware: a page must be able to read a 500"
    ]
    assert re.findall(r"^ *\d+  (\w+)\(", done.stdout, re.MULTILINE) == ["ErrorsMiddleware", "CORSMiddleware"]


def test_a_wrong_order_that_is_declared_is_told_alike(tmp_path: Path) -> None:
    (tmp_path / "declared.py").write_text(DECLARED)
    lines = lines_of(run_cli("stack", "declared:app", cwd=tmp_path), 1)
    assert any("CORSMiddleware must stand outside of ErrorsMiddleware" in line for line in lines)


def test_what_is_only_unwise_is_told_and_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    done = run_cli("stack", "right:make", cwd=tmp_path)
    (line,) = lines_of(done, 0)
    assert line.startswith("unwise: Own: it is a BaseHTTPMiddleware")
    bare = run_cli("stack", "right:bare", cwd=tmp_path)
    assert lines_of(bare, 0) == []
    assert bare.stdout == "no middleware\n"


@pytest.mark.parametrize("target", ["missing:app", "right:missing", "right", "right:text", "right:needs_more"])
def test_what_is_no_application_is_told_in_a_line(target: str, tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    done = run_cli("stack", target, cwd=tmp_path)
    assert len(lines_of(done, 2)) == 1
    assert done.stdout == ""
