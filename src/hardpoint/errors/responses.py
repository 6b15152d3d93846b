"""What a route can answer besides success, for its OpenAPI: `responses=responses(NotFound, Forbidden)`."""

from collections.abc import Mapping
from typing import Any

from hardpoint.errors.envelope import PROBLEM_MEDIA_TYPE, ErrorEnvelope, Problem
from hardpoint.errors.exceptions import ApiError, ValidationFailed
from hardpoint.errors.rendering import phrase_of

__all__ = ["responses"]

_EXAMPLE_ID = "3f2a9c61d4e80b75"


def responses(*errors: type[ApiError] | tuple[type[ApiError], str]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a FastAPI route for the given errors, grouped by status, with an example for each code.

    Args:
        *errors: Error classes, or pairs of an error class and the code with which the route raises it
            (`(Conflict, "LAST_ADMIN")`).

    Raises:
        TypeError: One of them is something else, such as a status.
    """
    grouped: dict[int, dict[str, tuple[str, type[ApiError]]]] = {}
    for error in errors:
        named: Any = error[0] if isinstance(error, tuple) else error
        if not (isinstance(named, type) and issubclass(named, ApiError)):
            raise TypeError(f"{named!r} is no error's class; write responses(NotFound, (Conflict, 'NAME_TAKEN'))")
        kind, code = error if isinstance(error, tuple) else (error, error.default_code)
        grouped.setdefault(int(kind.status), {})[code] = (kind.default_detail, kind)
    return {status: _response(status, codes) for status, codes in sorted(grouped.items())}


def _problem_schema() -> dict[str, Any]:
    # In one piece: FastAPI copies it to where a reference of its own would lead nowhere.
    schema = Problem.model_json_schema()
    (definition,) = schema.pop("$defs").values()
    for option in schema["properties"]["field_errors"]["anyOf"]:
        if "items" in option:
            option["items"] = definition
    return schema


def _response(status: int, codes: Mapping[str, tuple[str, type[ApiError]]]) -> dict[str, Any]:
    examples: dict[str, Any] = {}
    problems: dict[str, Any] = {}
    for code, (detail, kind) in codes.items():
        facts: dict[str, Any] = {"detail": detail, "code": code, "request_id": _EXAMPLE_ID}
        if issubclass(kind, ValidationFailed):
            facts["field_errors"] = [{"field": "email", "message": "Field required", "code": "missing"}]
        examples[code] = {"value": facts}
        problems[code] = {"value": {"type": "about:blank", "title": phrase_of(status), "status": status, **facts}}
    return {
        "model": ErrorEnvelope,
        "description": phrase_of(status),
        "content": {
            "application/json": {"examples": examples},
            PROBLEM_MEDIA_TYPE: {"schema": _problem_schema(), "examples": problems},
        },
    }
