"""What breaks clients."""

from copy import deepcopy
from typing import Any

import pytest

from hardpoint.openapi import breaking_changes

OBJECT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "kind": {"enum": ["a", "b"], "type": "string"},
        "next": {"anyOf": [{"$ref": "#/components/schemas/Thing"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "size": {"type": "integer"},
    },
    "required": ["name"],
}
DOCUMENT: dict[str, Any] = {
    "paths": {
        "/things": {
            "get": {
                "parameters": [
                    {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 100}},
                    {"$ref": "#/components/parameters/Sort"},
                ],
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                    "404": {"description": "Not found"},
                },
            },
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {"201": {"$ref": "#/components/responses/Made"}},
            },
        }
    },
    "components": {
        "schemas": {"Thing": OBJECT},
        "parameters": {"Sort": {"in": "query", "name": "sort", "schema": {"type": "string"}}},
        "responses": {"Made": {"content": {"application/json": {"schema": {"type": ["string", "null"]}}}}},
    },
}
GET, POST = ("paths", "/things", "get"), ("paths", "/things", "post")
THING = ("components", "schemas", "Thing")
GONE = object()


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    document = deepcopy(DOCUMENT)
    parent: Any = document
    for part in path[:-1]:
        parent = parent[part]
    if to is GONE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = to
    return document


def test_a_document_does_not_break_itself() -> None:
    assert breaking_changes(DOCUMENT, deepcopy(DOCUMENT)) == []


def on_path(path: str, **item: Any) -> dict[str, Any]:
    return {"paths": {path: item}, "components": {}}


NUMBERED = {"in": "path", "name": "id", "required": True, "schema": {"type": "integer"}}
ANSWERED: dict[str, Any] = {"responses": {"200": {}}}


def test_a_path_parameters_name_is_nothing_to_a_client() -> None:
    old = on_path("/things/{id}/parts/{part}", get={"parameters": [NUMBERED, {**NUMBERED, "name": "part"}]})
    of_text = {**NUMBERED, "name": "number", "schema": {"type": "string"}}
    new = on_path("/things/{thing}/parts/{number}", parameters=[{**NUMBERED, "name": "thing"}], get={})
    new["paths"]["/things/{thing}/parts/{number}"]["get"] = {"parameters": [of_text]}
    assert breaking_changes(old, old) == []
    assert breaking_changes(old, new) == [
        "GET /things/{id}/parts/{part}: the path parameter number: no longer takes integer"
    ]


def test_credentials_that_were_enough_have_to_stay_so() -> None:
    def with_security(*security: dict[str, Any]) -> dict[str, Any]:
        return on_path("/", get={**ANSWERED, "security": list(security)})

    either = with_security({"token": []}, {"cookie": []})
    assert breaking_changes(with_security({"token": []}), either) == []
    assert breaking_changes(with_security({"token": []}), with_security()) == []
    assert breaking_changes(either, with_security({"token": []})) == ["GET /: cookie is not enough"]
    assert breaking_changes(either, with_security({"token": [], "cookie": []})) == [
        "GET /: token is not enough",
        "GET /: cookie is not enough",
    ]
    # What holds for the whole document holds for an operation that says nothing.
    assert breaking_changes(on_path("/", get=ANSWERED), {**on_path("/", get=ANSWERED), "security": [{"key": []}]}) == [
        "GET /: needs authentication"
    ]


def test_schemas_that_are_true_or_false_are_read() -> None:
    def with_members(**members: Any) -> dict[str, Any]:
        schema = {"type": "object", "properties": members}
        return on_path("/", get={"responses": {"200": {"content": {"application/json": {"schema": schema}}}}})

    text = {"type": "string"}
    assert breaking_changes(with_members(a=True), with_members(a=text)) == []
    assert breaking_changes(with_members(a=text), with_members(a=True)) == ["GET / 200.a: may be anything"]
    assert breaking_changes(with_members(a=False), with_members(a=False)) == []


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (changed("paths", "/things", to=GONE), ["GET /things: is gone", "POST /things: is gone"]),
        (changed(*POST, to=GONE), ["POST /things: is gone"]),
        (changed(*GET, "security", to=[{"key": []}]), ["GET /things: needs authentication"]),
        (
            changed(*GET, "parameters", 0, "required", to=True),
            ["GET /things: the query parameter limit is required"],
        ),
        (
            changed(*GET, "parameters", 0, "schema", to={"type": "integer", "maximum": 50}),
            ["GET /things: the query parameter limit: maximum is 50, was 100"],
        ),
        (
            changed("components", "parameters", "Sort", "schema", to={"type": "string", "pattern": "^a"}),
            ["GET /things: the query parameter sort: has to match ^a"],
        ),
        (
            changed("components", "parameters", "Sort", "schema", to={"enum": ["x"], "type": "string"}),
            ["GET /things: the query parameter sort: no longer takes others"],
        ),
        (changed(*GET, "responses", "200", to=GONE), ["GET /things: no longer answers 200"]),
        (
            changed(*GET, "responses", "200", "content", to={"text/plain": {}}),
            ["GET /things 200: no longer application/json"],
        ),
        (changed(*POST, "requestBody", "required", to=True), ["POST /things: a body is required"]),
        (changed(*POST, "requestBody", to=GONE), ["POST /things: takes no body"]),
        (
            changed("components", "responses", "Made", "content", "application/json", "schema", to={"type": "integer"}),
            ["POST /things 201: may be integer"],
        ),
        (changed(*THING, "properties", "size", to=GONE), ["GET /things 200.size: is gone"]),
        (changed(*THING, "required", to=[]), ["GET /things 200.name: may be missing"]),
        (changed(*THING, "required", to=["name", "size"]), ["POST /things body.size: is required"]),
        (
            changed(*THING, "properties", "size", to={"type": "number"}),
            ["GET /things 200.size: may be number"],
        ),
        (
            changed(*THING, "properties", "size", to={"type": "string"}),
            ["GET /things 200.size: may be string", "POST /things body.size: no longer takes integer"],
        ),
        (
            changed(*THING, "properties", "kind", "enum", to=["b", "c"]),
            ["GET /things 200.kind: may be 'c'", "POST /things body.kind: no longer takes 'a'"],
        ),
        (
            changed(*THING, "properties", "tags", "items", to={"type": "integer"}),
            ["GET /things 200.tags[]: may be integer", "POST /things body.tags[]: no longer takes string"],
        ),
        (
            changed(*THING, "properties", "next", to={"$ref": "#/components/schemas/Thing"}),
            ["POST /things body.next: no longer takes null"],
        ),
        (
            changed(*THING, "properties", "name", "maxLength", to=5),
            ["POST /things body.name: maxLength is 5, was 10"],
        ),
    ],
)
def test_what_breaks_a_client_is_said(new: dict[str, Any], expected: list[str]) -> None:
    assert breaking_changes(DOCUMENT, new) == expected


def test_a_member_that_is_no_longer_taken_breaks() -> None:
    new = changed(*THING, "properties", "size", to=GONE)
    new["components"]["schemas"]["Thing"]["additionalProperties"] = False
    assert "POST /things body.size: is refused" in breaking_changes(DOCUMENT, new)


@pytest.mark.parametrize(
    "new",
    [
        changed("paths", "/more", to={"get": {"responses": {}}}),
        changed(*GET, "parameters", 0, "schema", "maximum", to=200),
        changed(*GET, "parameters", 1, to={"in": "query", "name": "other", "schema": {}}),
        changed(*GET, "responses", "404", to=GONE),
        changed(*GET, "responses", "202", to={"description": "Later"}),
        changed(*THING, "properties", "more", to={"type": "string"}),
        changed(*THING, "properties", "name", "maxLength", to=GONE),
        changed(*THING, "description", to="A thing."),
        changed(*POST, "requestBody", "content", "text/plain", to={}),
    ],
    ids=range(9),
)
def test_what_is_added_breaks_nothing(new: dict[str, Any]) -> None:
    assert breaking_changes(DOCUMENT, new) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"type": "integer"}, {"type": "string"}, {"POST /things body.*: no longer takes integer"}),
        (True, {"type": "string"}, {"POST /things body.*: no longer takes anything else"}),
        ({"type": "integer"}, {"type": "number"}, {"GET /things 200.*: may be number"}),
        ({"type": "integer"}, True, {"GET /things 200.*: may be anything"}),
        (True, True, set()),
        ({"type": "integer"}, {"type": "integer"}, set()),
    ],
)
def test_the_values_of_a_dictionary_are_compared(old: Any, new: Any, expected: set[str]) -> None:
    documents = (changed(*THING, to={"type": "object", "additionalProperties": values}) for values in (old, new))
    found = breaking_changes(*documents)
    assert expected <= set(found)
    assert bool(found) == bool(expected)
