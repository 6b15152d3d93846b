"""The OpenAPI document: valid, complete, and never contradicted by the service."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

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


@pytest.fixture(scope="module")
def document(own_service: Service) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{own_service.url}/openapi.json", timeout=30).json()
    return found


@pytest.mark.parametrize("role", ROLES)
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


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)  # type: ignore[arg-type] # it takes any mapping


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        found: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


def examples_of(document: dict[str, Any], content: dict[str, Any]) -> list[Any]:
    """A media type's own examples, and those of its schema."""
    own = [example["value"] for example in content.get("examples", {}).values()]
    if "example" in content:
        own.append(content["example"])
    schema = resolved(document, content.get("schema", {}))
    alternatives = [resolved(document, item) for item in schema.get("anyOf", [])]
    return own + [example for item in (schema, *alternatives) for example in item.get("examples", [])]


def test_every_route_is_described_with_valid_examples(document: dict[str, Any]) -> None:
    known_tags = {tag["name"] for tag in document["tags"]}
    assert all(tag["description"] for tag in document["tags"])
    faults: list[str] = []
    for name, operation in operations(document):
        if not operation.get("summary") or not operation.get("operationId") or not set(operation["tags"]) <= known_tags:
            faults.append(f"{name}: no summary, operation id or tag")
        parts = [(f"{name} {status}", resolved(document, answer)) for status, answer in operation["responses"].items()]
        if "requestBody" in operation:
            parts.append((f"{name} body", operation["requestBody"]))
        for part, described in parts:
            for media_type, content in described.get("content", {}).items():
                # A stream has no example.
                if media_type == "text/event-stream":
                    continue
                examples = examples_of(document, content)
                if not examples:
                    faults.append(f"{part}: no example of {media_type}")
                schema = {**content.get("schema", {}), "components": document["components"]}
                faults += [
                    f"{part}: {error.message}"
                    for example in examples
                    for error in Draft202012Validator(schema).iter_errors(example)
                ]
    assert faults == []


def test_every_error_has_the_envelope_and_its_codes(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status >= "400" and not name.endswith("/health/ready"):
                content = resolved(document, answer)["content"]
                assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorEnvelope"}
                assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
                for code, example in content["application/json"]["examples"].items():
                    assert example["value"]["code"] == code


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
