"""Clients that are made of the OpenAPI document: the service never contradicts it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from support.service import PASSWORD, Account, Service, run_cli

CONFIG = Path(__file__).parent / "schemathesis.toml"
ROLES = ["anonymous", "user", "editor", "admin"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def own_service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of this module's own, since an admin's random requests delete whom they meet."""
    folder = tmp_path_factory.mktemp("described")
    settings = {"environment": "test", "rate_limit": "off", "login_rate_limit": "off"}
    if request.param == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgres_server").create_database()
        settings["redis_url"] = request.getfixturevalue("valkey_of_the_run").url
        assert run_cli("db", "upgrade", cwd=folder, **settings).returncode == 0
    with Service.started(folder, **settings) as running:
        yield running


# The roles differ in what they may, the databases in what they refuse: an admin meets all of the latter.
@pytest.mark.parametrize(
    ("own_service", "role"),
    [*(("sqlite", role) for role in ROLES), ("postgresql", "admin")],
    indirect=["own_service"],
)
def test_no_generated_request_gets_an_answer_that_the_document_does_not_have(
    own_service: Service, role: str, tmp_path: Path
) -> None:
    """All checks, in all phases, as each role; see `schemathesis.toml` for what is left out, and why."""
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(CONFIG), "run"]
    command += [f"{own_service.url}/openapi.json", "--url", own_service.url, "--seed", "1"]
    command += ["--max-examples", "3", "--workers", "1", "--request-timeout", "30", "--continue-on-failure"]
    with ExitStack() as stack:
        if role != "anonymous":
            account = own_service.create(role)
            stack.callback(account.client.close)
            # Its session would end in the middle of the run.
            command += ["--header", f"Authorization: Bearer {account.access_token}", "--exclude-path", "/auth/logout"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
    assert "Failures:" not in done.stdout


def test_a_generated_client_logs_in_posts_and_pages(own_service: Service, tmp_path: Path) -> None:
    """The client of a well-known generator, used as its user would."""
    document = tmp_path / "openapi.json"
    document.write_text(httpx2.get(f"{own_service.url}/openapi.json", timeout=30).text)
    generator = str(Path(sys.executable).parent / "openapi-python-client")
    command = [
        generator,
        "generate",
        "--path",
        str(document),
        "--meta",
        "none",
        "--output-path",
        str(tmp_path / "made"),
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    account: Account = own_service.create("user")
    account.client.close()
    script = tmp_path / "use.py"
    script.write_text(USE)
    arguments = [own_service.url, account.email, PASSWORD]
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "titles": [f"Post {number}" for number in (4, 3, 2, 1, 0)],
        "refused": "NOT_FOUND",
    }


USE = """
import json
import sys

from made import AuthenticatedClient, Client
from made.api.auth import login
from made.api.posts import create_post, list_posts, read_post
from made.models import LoginForm, NewPost

url, email, password = sys.argv[1:]
with Client(base_url=url) as anybody:
    tokens = login.sync(client=anybody, body=LoginForm(username=email, password=password))
with AuthenticatedClient(base_url=url, token=tokens.access_token) as client:
    for number in range(5):
        create_post.sync(client=client, body=NewPost(title=f"Post {number}", body="By a machine."))
    titles, cursor = [], None
    while True:
        page = list_posts.sync(client=client, limit=2, **({} if cursor is None else {"cursor": cursor}))
        titles += [post.title for post in page.items]
        cursor = page.next_cursor
        if cursor is None or len(titles) >= 5:
            break
    refused = read_post.sync(client=client, post_id=999999)
print(json.dumps({"titles": titles[:5], "refused": refused.code}))
"""
