"""From pydantic's account of a validation error to field errors that repeat nothing the client sent.

Pydantic's account holds the input: for a *missing* field that is the whole body, passwords included. Only the path, the
type and a message survive here, and the path, whose keys the client chooses, is made printable and short.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hardpoint.errors.envelope import FieldError

__all__ = ["field_errors_from", "without_inputs"]

_MAX_ERRORS: Final = 50
_MAX_PART_LENGTH: Final = 64
_MAX_PARTS: Final = 10
_LOCATIONS: Final = frozenset({"body", "query", "path", "header", "cookie"})
_SHORTEST_ECHO: Final = 3

# Types whose own message quotes the input.
_MESSAGES: Final[Mapping[str, str]] = {
    "union_tag_invalid": "Not one of the expected variants",
    "json_invalid": "Not valid JSON",
}


def _printable(part: object) -> str:
    text = str(part)[:_MAX_PART_LENGTH]
    return "".join(character if character.isprintable() and character != "." else "?" for character in text)


def _path(location: Iterable[object]) -> str:
    parts = list(location)
    if parts and parts[0] in _LOCATIONS:
        parts = parts[1:]
    return ".".join(_printable(part) for part in parts[:_MAX_PARTS])


def _message(error: Mapping[str, Any]) -> str:
    kind = error.get("type", "")
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    message = str(error.get("msg", "Invalid value"))
    context = error.get("ctx")
    if isinstance(context, Mapping) and "reason" in context:
        # email-validator quotes the characters that it dislikes after the colon.
        return message.partition(":")[0]
    value = error.get("input")
    if isinstance(value, str) and len(value) >= _SHORTEST_ECHO and value in message:
        return "Invalid value"
    return message


def without_inputs(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A validation error's `errors()` as far as they repeat no value that was sent."""
    return [
        {"type": error.get("type", "invalid"), "loc": error.get("loc", ()), "msg": _message(error)} for error in errors
    ]


def field_errors_from(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """The field errors of a validation error's `errors()`; at most 50, so that an answer stays small."""
    result: list[FieldError] = []
    for error in errors:
        if len(result) == _MAX_ERRORS:
            break
        kind = str(error.get("type", "invalid"))
        # The location of unreadable JSON is a byte offset, which names no field.
        field = "" if kind == "json_invalid" else _path(error.get("loc", ()))
        result.append(FieldError(field=field, message=_message(error), code=kind))
    return result
