"""A route class that reads JSON strictly (RFC 8259), so that no bad body becomes a 500 further in."""

from collections.abc import Callable, Coroutine
from email.message import Message
from json import JSONDecodeError
from math import isinf
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.requests import empty_send
from starlette.types import Receive, Scope, Send

from hardpoint.errors import UnsupportedMediaType

__all__ = ["StrictJSONRoute", "StrictRequest", "takes_json"]


class StrictJSONRoute(APIRoute):
    """A FastAPI route whose JSON bodies must be JSON: `APIRouter(route_class=StrictJSONRoute)`.

    The standard library's parser, which FastAPI uses, accepts `NaN`, `1e999` and lone surrogates; they pass validation
    as `Any` or `float` and break the response or the database. Here they are a 422 with the code `json_invalid`, like
    every other kind of unreadable JSON: nesting deeper than 200, integers that do not fit Python's limits, text that is
    not UTF-8. A body that says it is something other than JSON, or another encoding, is a 415.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, given a request that reads strictly."""
        handler = super().get_route_handler()
        if not takes_json(self):
            return handler

        async def strict_handler(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict_handler


def takes_json(route: Any) -> bool:
    """Whether the route's body is JSON: forms, files and raw bodies are read by others."""
    return (
        route.body_field is not None and getattr(route.body_field.field_info, "media_type", None) == "application/json"
    )


class StrictRequest(Request):
    """A request whose body is JSON or refused."""

    def __init__(self, scope: Scope, receive: Receive, send: Send = empty_send) -> None:
        super().__init__(scope, receive, send)
        self._strict_json: Any = None
        self._is_read = False

    async def body(self) -> bytes:
        body = await super().body()
        content_type = self.headers.get("content-type")
        if body and content_type and not _is_json(content_type):
            raise UnsupportedMediaType("The body must be application/json in UTF-8")
        return body

    async def json(self) -> Any:
        if not self._is_read:
            self._strict_json = _parse(await self.body())
            self._is_read = True
        return self._strict_json


def _is_json(content_type: str) -> bool:
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    is_json = message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))
    return is_json and (message.get_content_charset() or "utf-8") in {"utf-8", "us-ascii"}


def _parse(body: bytes) -> Any:
    try:
        # Refuses NaN, lone surrogates, other encodings than UTF-8, and more than 200 levels.
        value = from_json(body, allow_inf_nan=False)
        _refuse_infinity(value)
    except ValueError as error:
        # What FastAPI makes a validation error of, without the body that its other callers put into it.
        raise JSONDecodeError("Not valid JSON", "", 0) from error
    return value


def _refuse_infinity(value: Any) -> None:
    # What `allow_inf_nan` leaves: a literal such as 1e999 overflows to infinity.
    if isinstance(value, dict):
        for item in value.values():
            _refuse_infinity(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_infinity(item)
    elif isinstance(value, float) and isinf(value):
        raise ValueError("a number out of range")
