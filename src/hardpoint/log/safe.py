"""What of an event's fields may be written: nothing secret, nothing that a request brought unasked, nothing endless."""

import traceback
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Final

__all__ = ["REDACTED", "add_clean", "format_exception", "is_sensitive", "shortened"]

REDACTED: Final = "[redacted]"
_SENSITIVE: Final = ("password", "passwd", "secret", "token", "authorization", "cookie", "api_key", "apikey", "ticket")
_MAX_VALUE_LENGTH: Final = 2_000
_PLAIN: Final = frozenset({int, float, bool, type(None)})


# Few names come again and again; looking each of them through costs more than the rest of its line.
@lru_cache(maxsize=1_024)
def is_sensitive(name: str) -> bool:
    """Whether a field of that name speaks of a secret."""
    lowered = name.lower().replace("-", "_")
    return any(word in lowered for word in _SENSITIVE)


def add_clean(entry: dict[str, Any], fields: Mapping[Any, Any]) -> None:
    """Add `fields` to `entry` as JSON can hold them, with secrets left out and nothing longer than anybody reads."""
    for key, value in fields.items():
        name = key if type(key) is str else str(key)
        if is_sensitive(name):
            entry[name] = REDACTED
        elif type(value) in _PLAIN:
            entry[name] = value
        else:
            try:
                entry[name] = _clean(value)
            except Exception:  # noqa: BLE001 - one that has no text or no end must not cost the line, nor the caller.
                entry[name] = _unshown(value)


def shortened(text: str) -> str:
    """`text`, cut off where nobody reads on."""
    return text if len(text) <= _MAX_VALUE_LENGTH else text[:_MAX_VALUE_LENGTH] + "…"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, Mapping):
        return {str(key): REDACTED if is_sensitive(str(key)) else _clean(item) for key, item in value.items()}
    if isinstance(value, Collection) and not isinstance(value, bytes | bytearray):
        return [_clean(item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return _clean(str(value))


def _unshown(value: object) -> str:
    return f"<{type(value).__qualname__} that cannot be shown>"


def _message_of(error: BaseException) -> str:
    try:
        return _told_by(error)
    except Exception:  # noqa: BLE001 - the traceback matters more than a text that cannot be made.
        return _unshown(error)


def _told_by(error: BaseException) -> str:
    # The text of a validation error quotes what was validated, passwords included; its class and its count are enough.
    count = getattr(error, "error_count", None)
    if callable(count):
        return f"{count()} validation errors"
    errors = getattr(error, "errors", None)
    if callable(errors):
        return f"{len(errors())} validation errors"
    return shortened(str(error))


def format_exception(error: BaseException) -> str:
    """A traceback like the interpreter's, whose messages cannot quote a request's input."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        trace: TracebackType | None = current.__traceback__
        frames = "".join(traceback.format_tb(trace))
        kind = type(current)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        text = f"Traceback (most recent call last):\n{frames}{name}: {_message_of(current)}"
        if isinstance(current, BaseExceptionGroup):
            text += "".join("\n| " + format_exception(inner).replace("\n", "\n| ") for inner in current.exceptions)
        parts.append(text)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n\nwhich was caused by\n\n".join(parts)
