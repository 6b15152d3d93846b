"""What of a new OpenAPI document breaks clients of an old one."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

__all__ = ["breaking_changes"]

Document = Mapping[str, Any]
Direction = Literal["request", "response"]

_PATH_PARAMETER: Final = re.compile(r"\{([^{}]*)\}")
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# (keyword, whether a greater value allows less)
_BOUNDS: Final = (
    ("minimum", True),
    ("exclusiveMinimum", True),
    ("minLength", True),
    ("minItems", True),
    ("maximum", False),
    ("exclusiveMaximum", False),
    ("maxLength", False),
    ("maxItems", False),
)


def breaking_changes(old: Document, new: Document) -> list[str]:
    """What breaks a client that was written for `old`, a line each; empty when nothing does.

    A request that was accepted has to be accepted, and a response may only be what it could be before: so a new
    required parameter breaks, as does a response's member that is gone, a narrower type in a request or a wider one in
    a response. What is added beside breaks nothing. Descriptions, examples and error responses are not compared.

    Args:
        old: The document that clients know.
        new: The one that they will meet.
    """
    return list(_Comparison(old, new).paths())


_Parameters: TypeAlias = Mapping[tuple[str, str | int], Document]


class _Comparison:
    def __init__(self, old: Document, new: Document) -> None:
        self._old = old
        self._new = new
        self._compared: set[tuple[int, int, Direction]] = set()

    def paths(self) -> Iterator[str]:
        after = _operations(self._new)
        for key, (path, old) in _operations(self._old).items():
            name = f"{key[1].upper()} {path}"
            if key not in after:
                yield f"{name}: is gone"
                continue
            self._compared.clear()
            yield from self._operation(name, old, after[key][1])

    def _operation(self, name: str, old: Document, new: Document) -> Iterator[str]:
        yield from self._security(name, old, new)
        yield from self._parameters(name, old["parameters"], new["parameters"])
        yield from self._request_body(name, old, new)
        for status, answer in old.get("responses", {}).items():
            if not status.startswith("2"):
                continue
            if status not in new.get("responses", {}):
                yield f"{name}: no longer answers {status}"
                continue
            before = _resolve(self._old, answer)
            after = _resolve(self._new, new["responses"][status])
            yield from self._content(f"{name} {status}", before, after, "response")

    def _security(self, name: str, old: Document, new: Document) -> Iterator[str]:
        before, after = (
            operation.get("security", document.get("security")) or [{}]
            for operation, document in ((old, self._old), (new, self._new))
        )
        for schemes in before:
            if not any(each.keys() <= schemes.keys() for each in after):
                yield f"{name}: {f'{_listed(set(schemes))} is not enough' if schemes else 'needs authentication'}"

    def _parameters(self, name: str, before: _Parameters, after: _Parameters) -> Iterator[str]:
        for key, parameter in after.items():
            place, own_name = parameter["in"], parameter["name"]
            if parameter.get("required") and not before.get(key, {}).get("required"):
                yield f"{name}: the {place} parameter {own_name} is required"
            if key in before:
                schemas = before[key].get("schema", {}), parameter.get("schema", {})
                yield from self._schema(f"{name}: the {place} parameter {own_name}", *schemas, "request")

    def _request_body(self, name: str, old: Document, new: Document) -> Iterator[str]:
        before = _resolve(self._old, old.get("requestBody", {}))
        after = _resolve(self._new, new.get("requestBody", {}))
        if after.get("required") and not before.get("required"):
            yield f"{name}: a body is required"
        if before and not after:
            yield f"{name}: takes no body"
        elif before:
            yield from self._content(f"{name} body", before, after, "request")

    def _content(self, name: str, old: Document, new: Document, direction: Direction) -> Iterator[str]:
        for media_type, content in old.get("content", {}).items():
            if media_type not in new.get("content", {}):
                yield f"{name}: no longer {media_type}"
                continue
            schemas = content.get("schema", {}), new["content"][media_type].get("schema", {})
            yield from self._schema(name, *schemas, direction)

    def _schema(self, name: str, old: Document, new: Document, direction: Direction) -> Iterator[str]:
        before, after = _alternatives(self._old, old), _alternatives(self._new, new)
        types = _types(before), _types(after)
        if direction == "request" and types[1] and (lost := types[0] - types[1] if types[0] else {"anything else"}):
            yield f"{name}: no longer takes {_listed(lost)}"
        if direction == "response" and types[0] and (more := types[1] - types[0] if types[1] else {"anything"}):
            yield f"{name}: may be {_listed(more)}"
        yield from _values(name, before, after, direction)
        for kind in ("object", "array", "string", "number", "integer"):
            one, other = _only(before, kind), _only(after, kind)
            # A schema may contain itself; the documents, and so these identities, outlive the comparison.
            pair = id(one), id(other), direction
            if one is not None and other is not None and pair not in self._compared:
                self._compared.add(pair)
                if direction == "request":
                    yield from _bounds(name, one, other)
                yield from self._members(name, one, other, direction)
                if "items" in one and "items" in other:
                    yield from self._schema(f"{name}[]", one["items"], other["items"], direction)

    def _members(self, name: str, old: Document, new: Document, direction: Direction) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        required = set(old.get("required", ())), set(new.get("required", ()))
        if direction == "request":
            for member in sorted(required[1] - required[0]):
                yield f"{name}.{member}: is required"
            if new.get("additionalProperties") is False:
                for member in sorted(before.keys() - after.keys()):
                    yield f"{name}.{member}: is refused"
        else:
            for member in sorted(before.keys() - after.keys()):
                yield f"{name}.{member}: is gone"
            for member in sorted((required[0] - required[1]) & after.keys()):
                yield f"{name}.{member}: may be missing"
        for member in sorted(before.keys() & after.keys()):
            yield from self._schema(f"{name}.{member}", before[member], after[member], direction)
        # What a dictionary holds: `True` says anything, and `False` or nothing that it is none.
        values = [{} if found is True else found for found in map(_additional, (old, new))]
        if values[0] is not False and values[1] is not False:
            yield from self._schema(f"{name}.*", values[0], values[1], direction)


def _operations(document: Document) -> dict[tuple[str, str], tuple[str, Document]]:
    """Every operation, by its path without the parameters' names, which clients do not see, and its method."""
    found: dict[tuple[str, str], tuple[str, Document]] = {}
    for path, item in document.get("paths", {}).items():
        places = {name: place for place, name in enumerate(_PATH_PARAMETER.findall(path))}
        for method in _METHODS:
            if method in item:
                listed = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                parameters = {
                    (each["in"], places.get(each["name"], each["name"]) if each["in"] == "path" else each["name"]): each
                    for each in (_resolve(document, parameter) for parameter in listed)
                }
                key = _PATH_PARAMETER.sub("{}", path), method
                found[key] = path, {**item[method], "parameters": parameters}
    return found


def _resolve(document: Document, value: Document) -> Document:
    while "$ref" in value:
        found: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def _alternatives(document: Document, schema: Any) -> list[Document]:
    if isinstance(schema, bool):
        # Anything, or nothing at all.
        return [{}] if schema else []
    resolved = _resolve(document, schema)
    for word in ("anyOf", "oneOf"):
        if word in resolved:
            return [found for item in resolved[word] for found in _alternatives(document, item)]
    return [resolved]


def _types(alternatives: list[Document]) -> set[str]:
    """The types that are allowed; none for any."""
    found: set[str] = set()
    for schema in alternatives:
        kinds = schema.get("type")
        if kinds is None:
            known = {type(value).__name__ for value in _enumerated(schema) or ()}
            names = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "NoneType": "null"}
            kinds = [names[name] for name in known if name in names]
            if not kinds:
                return set()
        found.update([kinds] if isinstance(kinds, str) else kinds)
    # Every integer is a number.
    return found | {"integer"} if "number" in found else found


def _additional(schema: Document) -> Any:
    return schema.get("additionalProperties", False)


def _enumerated(schema: Document) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _values(name: str, old: list[Document], new: list[Document], direction: Direction) -> Iterator[str]:
    sets = []
    for alternatives in (old, new):
        lists = [_enumerated(schema) for schema in alternatives if schema.get("type") != "null"]
        is_closed = bool(lists) and all(values is not None for values in lists)
        sets.append({repr(value) for values in lists for value in values or ()} if is_closed else None)
    before, after = sets
    if direction == "request" and after is not None and (lost := {"others"} if before is None else before - after):
        yield f"{name}: no longer takes {_listed(lost)}"
    if direction == "response" and before is not None and (more := {"others"} if after is None else after - before):
        yield f"{name}: may be {_listed(more)}"


def _bounds(name: str, old: Document, new: Document) -> Iterator[str]:
    for keyword, greater_is_stricter in _BOUNDS:
        before, after = old.get(keyword), new.get(keyword)
        if after is None or before == after:
            continue
        # No bound allows most.
        if before is None or (after > before) == greater_is_stricter:
            yield f"{name}: {keyword} is {after}, was {before}"
    if new.get("pattern") not in {None, old.get("pattern")}:
        yield f"{name}: has to match {new['pattern']}"


def _only(alternatives: list[Document], kind: str) -> Document | None:
    found = [schema for schema in alternatives if schema.get("type") == kind or (kind in (schema.get("type") or ()))]
    return found[0] if len(found) == 1 else None


def _listed(values: set[str]) -> str:
    return ", ".join(sorted(values))
