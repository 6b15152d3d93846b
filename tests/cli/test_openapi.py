"""`hardpoint openapi`."""

import json
from pathlib import Path

import yaml

from support.service import run_cli


def test_the_document_as_json_and_as_yaml(tmp_path: Path) -> None:
    as_json = run_cli("openapi", cwd=tmp_path)
    assert as_json.returncode == 0, as_json.stderr
    document = json.loads(as_json.stdout)
    assert "/posts" in document["paths"]
    as_yaml = run_cli("openapi", "--format", "yaml", cwd=tmp_path)
    assert yaml.safe_load(as_yaml.stdout) == document


def test_what_breaks_clients_of_an_older_document(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    document = json.loads(run_cli("openapi", cwd=tmp_path).stdout)
    old.write_text(json.dumps(document))
    same = run_cli("openapi", "--diff", str(old), cwd=tmp_path)
    assert (same.returncode, same.stdout) == (0, "")
    document["paths"]["/gone"] = {"get": {"responses": {}}}
    old.write_text(json.dumps(document))
    broken = run_cli("openapi", "--diff", str(old), cwd=tmp_path)
    assert (broken.returncode, broken.stdout) == (1, "GET /gone: is gone\n")


def test_what_is_no_document_is_told_in_a_line(tmp_path: Path) -> None:
    for number, content in enumerate([b"", b"[]", b"{", b"\xff\xfe", b"paths: 5"]):
        wrong = tmp_path / f"{number}.json"
        wrong.write_bytes(content)
        done = run_cli("openapi", "--diff", str(wrong), cwd=tmp_path)
        assert (done.returncode, done.stderr) == (2, f"{wrong} is no OpenAPI document\n")


def test_an_application_without_a_document_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("from starlette.applications import Starlette\napp = Starlette()\n")
    done = run_cli("openapi", "plain:app", cwd=tmp_path)
    assert done.returncode == 2
    assert "no OpenAPI document" in done.stderr
    assert "Traceback" not in done.stderr
