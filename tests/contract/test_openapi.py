"""The OpenAPI document: valid and complete."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from support.service import Service


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    with service.client() as client:
        found: dict[str, Any] = client.get("/openapi.json").json()
        return found


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
