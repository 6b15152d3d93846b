"""The OpenAPI document, finished: what FastAPI cannot know of what stands around the routes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel

from hardpoint.errors import (
    ApiError,
    GatewayTimeout,
    InternalError,
    PayloadTooLarge,
    RateLimited,
    ServiceUnavailable,
    UnsupportedMediaType,
    ValidationFailed,
    responses,
)
from hardpoint.errors.envelope import PROBLEM_MEDIA_TYPE, ErrorEnvelope, Problem
from hardpoint.openapi.deprecation import Deprecation, deprecation_of

__all__ = ["Tag", "install_openapi", "unique_route_name"]

Answer = type[ApiError] | tuple[type[ApiError], str]
"""An error, or one with the code with which it is raised."""

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_OF_BODIES: Final[tuple[type[ApiError], ...]] = (PayloadTooLarge, UnsupportedMediaType)
_EVERYWHERE: Final[tuple[type[ApiError], ...]] = (RateLimited, InternalError, ServiceUnavailable, GatewayTimeout)
_VALIDATION: Final = "422"

_HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "X-Request-ID": {
        "description": "The request's id, also in the server's log; one that was sent is kept",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left: `"default";r=59;t=1` (draft-ietf-httpapi-ratelimit-headers)',
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": 'The quota and its window in seconds: `"default";q=60;w=60`',
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "After how many seconds to try again (RFC 9110, section 10.2.3)",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate, and what was wrong with what was sent (RFC 6750, section 3)",
        "schema": {"type": "string"},
    },
    "Deprecation": {"description": "Since when (RFC 9745)", "schema": {"type": "string"}},
    "Sunset": {"description": "From when on it may be gone (RFC 8594)", "schema": {"type": "string"}},
}
_HEADERS_OF_STATUS: Final[Mapping[str, tuple[str, ...]]] = {
    "401": ("WWW-Authenticate",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}


class Tag(BaseModel):
    """A group of routes.

    Attributes:
        name: Its name.
        description: What the routes are about.
    """

    name: str
    description: str


def unique_route_name(route: APIRoute) -> str:
    """The route function's name as the operation id: stable, and what a generated client's method is called.

    `FastAPI(generate_unique_id_function=unique_route_name)`; `install_openapi` refuses a name that is there twice.
    """
    return route.name


def install_openapi(
    app: FastAPI,
    *,
    tags: Sequence[Tag] = (),
    servers: Sequence[str] = (),
    everywhere: Iterable[Answer] = _EVERYWHERE,
    with_bodies: Iterable[Answer] = _OF_BODIES,
    headers: Iterable[str] = ("X-Request-ID", "RateLimit", "RateLimit-Policy"),
    exempt_paths: Collection[str] = (),
) -> None:
    """Make `app.openapi()` complete; call it when all routes are there.

    It adds the errors that middlewares answer with, the headers of responses, tags with descriptions, servers, and
    deprecations; takes out FastAPI's own 422, which is not what hardpoint's handlers answer; and keeps what many routes
    share once, under `components/responses`.

    Args:
        app: The application.
        tags: The groups of routes, in order. Each tag of a route has to be here, if there are any.
        servers: The service's addresses.
        everywhere: Errors that any route may answer with.
        with_bodies: Errors that any route may answer with that takes a body.
        headers: Names of headers on every response, of those that hardpoint sets.
        exempt_paths: Paths that stand outside of the middlewares' errors, such as health checks.

    Raises:
        ValueError: Two routes have one operation id, or a route's tag has no description.
    """
    common, of_bodies, shown = _plain(responses(*everywhere)), _plain(responses(*with_bodies)), tuple(headers)
    _check(app, {tag.name for tag in tags})

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                openapi_version=app.openapi_version,
                summary=app.summary,
                description=app.description,
                terms_of_service=app.terms_of_service,
                contact=app.contact,
                license_info=app.license_info,
                routes=app.routes,
                webhooks=app.webhooks.routes,
                tags=[tag.model_dump() for tag in tags] or app.openapi_tags,
                servers=[{"url": server} for server in servers] or app.servers,
                separate_input_output_schemas=app.separate_input_output_schemas,
            )
            finisher = _Finisher(document, common=common, of_bodies=of_bodies, headers=shown)
            finisher.finish(_deprecations(app), exempt_paths)
            app.openapi_schema = document
        return app.openapi_schema

    # FastAPI's documented way to replace the document.
    app.openapi = openapi  # type: ignore[method-assign] # see above


def _check(app: FastAPI, known_tags: set[str]) -> None:
    seen: dict[str, str] = {}
    for route in iter_route_contexts(app.routes):
        if not isinstance(route.original_route, APIRoute) or not route.include_in_schema:
            continue
        shown: Any = route
        operation_id = shown.operation_id or shown.unique_id
        if operation_id in seen:
            raise ValueError(f"The operation id {operation_id!r} is of {seen[operation_id]} and of {route.path}")
        seen[operation_id] = str(route.path)
        if known_tags and (unknown := {str(tag) for tag in shown.tags} - known_tags):
            raise ValueError(f"No description for the tag {', '.join(sorted(unknown))!r} of {route.path}")


class _Finisher:
    """Completes one document."""

    def __init__(
        self,
        document: dict[str, Any],
        *,
        common: Mapping[str, dict[str, Any]],
        of_bodies: Mapping[str, dict[str, Any]],
        headers: Sequence[str],
    ) -> None:
        self._document = document
        self._common = common
        self._of_bodies = of_bodies
        self._headers = headers
        self._components: dict[str, Any] = document.setdefault("components", {})
        self._shared: dict[str, Any] = {}

    def finish(self, deprecations: Mapping[tuple[str, str], Deprecation], exempt_paths: Collection[str]) -> None:
        schemas = self._components.setdefault("schemas", {})
        self._find_token_urls()
        for model in (ErrorEnvelope, Problem):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        for path, item in self._document.get("paths", {}).items():
            for method in _METHODS:
                if method in item:
                    self._operation(item[method], deprecations.get((path, method)), is_exempt=path in exempt_paths)
        for schema in schemas.values():
            for example in schema.get("examples", ()):
                _restore_nulls(example, schema, schemas)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        self._components["headers"] = {name: _HEADERS[name] for name in sorted(self._used_headers())}
        self._components["responses"] = dict(sorted(self._shared.items()))
        self._components["schemas"] = dict(sorted(schemas.items()))

    def _find_token_urls(self) -> None:
        # A scheme does not know under which prefix the router with its login was put.
        paths = self._document.get("paths", {})
        for scheme in self._components.get("securitySchemes", {}).values():
            for flow in scheme.get("flows", {}).values():
                url = flow.get("tokenUrl", "")
                found = [path for path in paths if url.startswith("/") and path.endswith(url)]
                if url not in paths and len(found) == 1:
                    flow["tokenUrl"] = found[0]

    def _operation(self, operation: dict[str, Any], deprecation: Deprecation | None, *, is_exempt: bool) -> None:
        answers: dict[str, Any] = operation["responses"]
        if "HTTPValidationError" in str(answers.get(_VALIDATION)):
            answers[_VALIDATION] = _plain(responses(ValidationFailed))[_VALIDATION]
        added = {} if is_exempt else dict(self._common)
        if "requestBody" in operation:
            added.update(self._of_bodies)
        for status, answer in added.items():
            answers.setdefault(status, deepcopy(answer))
        own = [*self._headers, *(deprecation.headers if deprecation is not None else ())]
        if deprecation is not None:
            operation["deprecated"] = True
            operation["description"] = f"{operation.get('description', '')}\n\n{deprecation.text}".strip()
        for status, answer in answers.items():
            names = [*own, *_HEADERS_OF_STATUS.get(status, ())]
            answer.setdefault("headers", {}).update(
                {name: {"$ref": f"#/components/headers/{name}"} for name in names if name in _HEADERS}
            )
            if PROBLEM_MEDIA_TYPE in answer.get("content", {}):
                answer["content"] = _content_of_error(answer["content"])
        operation["responses"] = {status: self._share(answers[status]) for status in sorted(answers)}

    def _share(self, answer: dict[str, Any]) -> dict[str, Any]:
        # What an error response is called says its codes; a deprecated route's has more headers, and is its own.
        examples = answer.get("content", {}).get("application/json", {}).get("examples", {})
        name = "-".join(examples)
        if not name or PROBLEM_MEDIA_TYPE not in answer["content"] or self._shared.setdefault(name, answer) != answer:
            return answer
        return {"$ref": f"#/components/responses/{name}"}

    def _used_headers(self) -> set[str]:
        text = str(self._document.get("paths")) + str(self._shared)
        return {name for name in _HEADERS if f"#/components/headers/{name}'" in text}


def _restore_nulls(example: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
    # FastAPI drops every null of the document, those of examples too.
    schema = schemas.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
    if isinstance(example, list):
        for item in example:
            _restore_nulls(item, schema.get("items", {}), schemas)
    elif isinstance(example, dict):
        for name, member in schema.get("properties", {}).items():
            if name in example:
                _restore_nulls(example[name], member, schemas)
            elif name in schema.get("required", ()) and {"type": "null"} in member.get("anyOf", ()):
                example[name] = None


def _content_of_error(content: dict[str, Any]) -> dict[str, Any]:
    # FastAPI puts the model under the media type of the route's own response class, and the other one in full.
    return {
        "application/json": {**content["application/json"], "schema": {"$ref": "#/components/schemas/ErrorEnvelope"}},
        PROBLEM_MEDIA_TYPE: {**content[PROBLEM_MEDIA_TYPE], "schema": {"$ref": "#/components/schemas/Problem"}},
    }


def _plain(errors: Mapping[int | str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Responses as the document has them, which FastAPI would make of them for a route."""
    plain: dict[str, dict[str, Any]] = {}
    for status, error in errors.items():
        found = deepcopy({name: value for name, value in error.items() if name != "model"})
        found["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/ErrorEnvelope"}
        plain[str(status)] = found
    return plain


def _deprecations(app: FastAPI) -> dict[tuple[str, str], Deprecation]:
    found: dict[tuple[str, str], Deprecation] = {}
    for route in iter_route_contexts(app.routes):
        shown: Any = route
        deprecation = deprecation_of(getattr(shown, "endpoint", None))
        if deprecation is not None:
            found.update({(shown.path_format, method.lower()): deprecation for method in shown.methods or ()})
    return found
