"""Hostile JSON (section 3.6) against every route that reads any: a 422 or a 415, never a 500, never an echo."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from attacks.conftest import Operation
from support.service import Account, Service, check_envelope

CANARY = "canary-0815"


@pytest.fixture
def attacker(service: Service, admin: Account) -> Iterator[Account]:
    """The admin in a session of their own, which a logout may end."""
    account = service.log_in(admin.email)
    with closing(account.client):
        yield account


UNREADABLE: dict[str, bytes] = {
    "one brace": b"{",
    "text": b"canary-0815",
    "single quotes": b"{'title': 'canary-0815'}",
    "trailing comma": b'{"title": "canary-0815",}',
    "trailing text": b'{"title": "canary-0815"} canary-0815',
    "two documents": b'{"title": "canary-0815"}\n{"title": "canary-0815"}',
    "comment": b'{"title": "canary-0815" /* canary-0815 */}',
    "nan": b'{"title": NaN, "body": "canary-0815"}',
    "infinity": b'{"title": Infinity, "body": "canary-0815"}',
    "minus infinity": b'{"title": -Infinity, "body": "canary-0815"}',
    "1e999": b'{"title": 1e999, "body": "canary-0815"}',
    "-1e999": b'{"title": -1e999}',
    "1e999 deep inside": b'{"title": [{"x": [1, 2, 1e999]}], "body": "canary-0815"}',
    "top-level nan": b"NaN",
    "top-level 1e999": b"1e999",
    "lone high surrogate": b'{"title": "\\ud800", "body": "canary-0815"}',
    "lone low surrogate": b'{"title": "\\udc00", "body": "canary-0815"}',
    "surrogates reversed": b'{"title": "\\udc00\\ud800", "body": "canary-0815"}',
    "lone surrogate in a key": b'{"\\ud800canary": "x"}',
    "raw surrogate": b'{"title": "\xed\xa0\x80"}',
    "overlong nul": b'{"title": "\xc0\x80"}',
    "beyond unicode": b'{"title": "\xf4\x90\x80\x80"}',
    "latin-1": '{"title": "ü"}'.encode("latin-1"),
    "utf-16": '{"title": "canary-0815"}'.encode("utf-16"),
    "utf-32": '{"title": "canary-0815"}'.encode("utf-32"),
    "byte order mark": b'\xef\xbb\xbf{"title": "canary-0815"}',
    "raw control character": b'{"title": "a\x01b"}',
    "raw newline": b'{"title": "a\nb"}',
    "raw nul": b'{"title": "a\x00b"}',
    "bad escape": b'{"title": "\\x41"}',
    "leading zero": b'{"title": 0123}',
    "plus": b'{"title": +1}',
    "hexadecimal": b'{"title": 0x10}',
    "deep lists": b"[" * 200_000,
    "deep lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"title":' * 50_000,
    "deep objects, closed": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep in a member": b'{"title": ' + b"[" * 300 + b"]" * 300 + b"}",
    "5000-digit integer": b'{"title": ' + b"9" * 5_000 + b"}",
    "compressed": gzip.compress(b'{"title": "canary-0815", "body": "canary-0815"}'),
}
NO_OBJECTS: dict[str, bytes] = {
    "a list": b"[]",
    "a list of an object": b'[{"title": "canary-0815"}]',
    "a string": b'"canary-0815"',
    "a number": b"4711",
    "a negative number": b"-0",
    "a fraction": b"1.5",
    "true": b"true",
    "false": b"false",
}


def attack(
    account: Account, fill: Callable[[str], str], operation: Operation, content: bytes, **headers: str
) -> httpx2.Response:
    return account.client.request(
        operation.method,
        fill(operation.path),
        content=content,
        headers={"Content-Type": "application/json", **headers},
    )


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_json_is_a_422_on_every_route(
    attacker: Account, json_operations: list[Operation], fill: Callable[[str], str], name: str
) -> None:
    for operation in json_operations:
        answer = attack(attacker, fill, operation, UNREADABLE[name])
        body = check_envelope(answer, 422, "VALIDATION_ERROR")
        assert [(error["field"], error["code"]) for error in body["field_errors"]] == [("", "json_invalid")]
        assert "canary" not in answer.text


@pytest.mark.parametrize("name", NO_OBJECTS)
def test_json_that_is_no_object_is_a_422_on_every_route(
    attacker: Account, json_operations: list[Operation], fill: Callable[[str], str], name: str
) -> None:
    for operation in json_operations:
        answer = attack(attacker, fill, operation, NO_OBJECTS[name])
        check_envelope(answer, 422, "VALIDATION_ERROR")
        assert "canary" not in answer.text


@pytest.mark.parametrize(
    "value", ["null", "7", "1.5", "true", "[]", "{}", "1e308", "9" * 400, '{"$ne": null}', '[["x"]]']
)
def test_a_member_of_another_kind_is_a_422_on_every_route(
    attacker: Account, json_operations: list[Operation], fill: Callable[[str], str], value: str
) -> None:
    for operation in json_operations:
        optional = operation.method == "PATCH" and not operation.path.startswith("/posts")
        if optional and value in {"null", "true"}:
            # Leaving out, and a truth value that is one.
            continue
        content = "{" + ", ".join(f'"{member}": {value}' for member in operation.members) + "}"
        answer = attack(attacker, fill, operation, content.encode())
        check_envelope(answer, 422, "VALIDATION_ERROR")


def test_a_number_as_text_or_a_text_as_number_is_not_converted(user_of_module: Account) -> None:
    for title in ["7", "7.0", "true"]:
        answer = user_of_module.client.post(
            "/posts",
            content=f'{{"title": {title}, "body": "b"}}'.encode(),
            headers={"Content-Type": "application/json"},
        )
        body = check_envelope(answer, 422, "VALIDATION_ERROR")
        assert [error["field"] for error in body["field_errors"]] == ["title"]


def test_of_a_member_that_is_there_twice_the_one_that_was_checked_is_stored(user_of_module: Account) -> None:
    def post(content: bytes) -> httpx2.Response:
        return user_of_module.client.post("/posts", content=content, headers={"Content-Type": "application/json"})

    stored = post(b'{"title": "first", "title": "last", "body": "b"}')
    assert (stored.status_code, stored.json()["title"]) == (201, "last")
    hidden = post(b'{"title": "good", "title": "bad\\u0000", "body": "b"}')
    check_envelope(hidden, 422, "VALIDATION_ERROR")
    escaped = post(b'{"title": "first", "tit\\u006ce": "last", "body": "b"}')
    assert (escaped.status_code, escaped.json()["title"]) == (201, "last")


@pytest.mark.parametrize(
    "character", ["\\u0000", "\\u0001", "\\u001b", "\\u007f", "\\u0085", "\\u2028", "\\u202e", "\\n"]
)
def test_a_line_has_no_control_characters(user_of_module: Account, character: str) -> None:
    for method, path, member, more in [
        ("POST", "/posts", "title", ', "body": "b"'),
        ("PATCH", "/users/me", "name", ""),
        ("POST", "/auth/register", "name", ', "email": "a@example.com", "password": "correct horse battery staple"'),
    ]:
        content = f'{{"{member}": "a{character}b"{more}}}'.encode()
        answer = user_of_module.client.request(
            method, path, content=content, headers={"Content-Type": "application/json"}
        )
        body = check_envelope(answer, 422, "VALIDATION_ERROR")
        assert [error["field"] for error in body["field_errors"]] == [member]


def test_a_nul_is_nowhere_stored(user_of_module: Account) -> None:
    post = user_of_module.client.post("/posts", json={"title": "t", "body": "b"}).json()["id"]
    for method, path, body in [
        ("POST", "/posts", {"title": "t", "body": "a\x00b"}),
        ("PATCH", f"/posts/{post}", {"body": "a\x00b"}),
        ("POST", f"/posts/{post}/comments", {"body": "a\x00b"}),
        ("POST", "/auth/forgot-password", {"email": "a\x00@example.com"}),
    ]:
        check_envelope(user_of_module.client.request(method, path, json=body), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/json",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json; charset=nonsense",
        "application/jsonp",
        "application",
        "/",
        ";",
        "application/octet-stream",
    ],
)
def test_another_media_type_is_a_415_on_every_route(
    attacker: Account, json_operations: list[Operation], fill: Callable[[str], str], content_type: str
) -> None:
    content = b'{"title": "canary-0815", "body": "canary-0815", "email": "canary-0815@example.com"}'
    for operation in json_operations:
        answer = attack(attacker, fill, operation, content, **{"Content-Type": content_type})
        check_envelope(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
        assert "canary" not in answer.text


def test_thousands_of_members_are_refused_with_a_short_answer(
    attacker: Account, json_operations: list[Operation], fill: Callable[[str], str]
) -> None:
    content = ("{" + ", ".join(f'"canary-{number}": "{CANARY}"' for number in range(5_000)) + "}").encode()
    for operation in json_operations:
        answer = attack(attacker, fill, operation, content)
        body = check_envelope(answer, 422, "VALIDATION_ERROR")
        assert 1 <= len(body["field_errors"]) <= 50
        assert CANARY not in answer.text


def test_a_key_is_told_short_and_printable(user_of_module: Account) -> None:
    keys: dict[str, Any] = {"k" * 10_000: 1, "a\r\nSet-Cookie: x\x1b[31m": 1, "__proto__": 1, "a.b.c": 1, "\u202e": 1}
    answer = user_of_module.client.post("/posts", json={"title": "t", "body": "b", **keys})
    body = check_envelope(answer, 422, "VALIDATION_ERROR")
    fields = [error["field"] for error in body["field_errors"]]
    assert len(fields) == len(keys)
    for name in fields:
        assert len(name) <= 64
        assert name.isprintable()
    assert "set-cookie" not in answer.headers


def test_many_values_in_a_list_are_refused(admin: Account) -> None:
    for scopes in [
        ["metrics"] * 21,
        ["metrics"] * 50_000,
        [],
        ["*"],
        ["metrics\n"],
        ["Metrics"],
        [None],
        [["metrics"]],
    ]:
        answer = admin.client.post("/api-keys", json={"name": "k", "scopes": scopes})
        check_envelope(answer, 422, "VALIDATION_ERROR")
