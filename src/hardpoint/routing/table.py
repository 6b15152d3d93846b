"""All routes of an application in one table, and the request's own in it, found as FastAPI's routers would find it."""

from collections.abc import Iterator
from operator import attrgetter, is_
from typing import Any, Final, NamedTuple

from fastapi import APIRouter
from fastapi.routing import (
    APIRoute,
    APIWebSocketRoute,
    _EffectiveRouteContext,
    _get_fastapi_scope,
    _IncludedRouter,
)
from starlette._utils import get_route_path
from starlette.convertors import StringConvertor
from starlette.routing import BaseRoute, Match, WebSocketRoute
from starlette.types import Scope

from hardpoint.routing.compiled import CompiledRoute
from hardpoint.routing.running import CompiledHandler

__all__ = ["RouteTable"]

# Where a scope holds what FastAPI knows of an included route.
_CONTEXT: Final = "effective_route_context"
_INCLUDED: Final = "included_router"

_version: Final = attrgetter("_routes_version")


class _Entry(NamedTuple):
    """A route in one place.

    Attributes:
        route: The route as it was declared, or what has to be asked whether it takes a request.
        match: Whether a path is one of the route's; `None` where only the route itself can say.
        methods: What it answers to; none means all.
        convertors: What is to be converted of the path's parameters.
        handler: What answers in the short way; `None` where FastAPI has to.
        context: What an including router makes of the route.
        included: The innermost of those routers.
    """

    route: Any
    match: Any = None
    methods: frozenset[str] = frozenset()
    convertors: tuple[tuple[str, Any], ...] = ()
    handler: CompiledHandler | None = None
    context: _EffectiveRouteContext | None = None
    included: _IncludedRouter | None = None


class RouteTable:
    """The routes of a router and of all that it includes, in FastAPI's order, by the first segment of their path.

    Args:
        router: The application's router; routes that are added to it later are found too.
    """

    def __init__(self, router: APIRouter) -> None:
        self._router = router
        self._routes: list[BaseRoute] = []
        self._routers: list[APIRouter] = []
        self._versions: list[int] = []
        self._by_segment: dict[str, list[_Entry]] = {}
        self._others: list[_Entry] = []

    def find(self, scope: Scope) -> CompiledHandler | None:
        """What answers a request in the short way, of which the scope then knows all that FastAPI's routers tell it.

        `None` when another route takes the request, or none: then the scope is as it was. So it is when something is
        raised, by a convertor or a route that is asked: FastAPI meets that again, where exceptions have handlers.
        """
        try:
            return self._find(scope)
        except Exception:  # noqa: BLE001 - whatever it is.
            return None

    def _find(self, scope: Scope) -> CompiledHandler | None:
        if self._is_changed():
            self._build()
        path = get_route_path(scope)
        method = scope["method"]
        for entry in self._by_segment.get(path[1:].partition("/")[0], self._others):
            if entry.match is None:
                if entry.route.matches(scope)[0] is Match.FULL:
                    return None
                continue
            found = entry.match(path)
            if found is None or (entry.methods and method not in entry.methods):
                continue
            handler = entry.handler
            # `$` matches before a line's end too, so that the first segment is not always what was looked up.
            if handler is None or entry.route.is_wrapped or not handler.may_answer(scope) or "\n" in path:
                return None
            self._tell(scope, entry, found.groupdict())
            return handler
        return None

    def _is_changed(self) -> bool:
        routes, known = self._router.routes, self._routes
        # By identity: routes of one path and endpoint are equal, whatever guards them. In C: fifty take a microsecond.
        return (
            len(routes) != len(known)
            or not all(map(is_, routes, known))
            or list(map(_version, self._routers)) != self._versions
        )

    def _tell(self, scope: Scope, entry: _Entry, parameters: dict[str, Any]) -> None:
        for name, convertor in entry.convertors:
            parameters[name] = convertor.convert(parameters[name])
        if outer := scope.get("path_params"):
            parameters = {**outer, **parameters}
        scope["path_params"] = parameters
        scope["route"] = route = entry.route
        if "router" not in scope:
            scope["router"] = self._router
        if entry.context is None:
            scope["endpoint"] = route.endpoint
            return
        scope["endpoint"] = entry.context.endpoint
        told = _get_fastapi_scope(scope)
        told[_INCLUDED] = entry.included
        told[_CONTEXT] = entry.context

    def _build(self) -> None:
        self._routes = list(self._router.routes)
        self._routers = []
        entries: list[_Entry] = []
        for route in self._routes:
            entries += self._entries_of(route)
        self._versions = list(map(_version, self._routers))
        self._by_segment, self._others = {}, []
        for entry in entries:
            segment = _first_segment(entry)
            if segment is None:
                for several in (self._others, *self._by_segment.values()):
                    several.append(entry)
            else:
                if segment not in self._by_segment:
                    self._by_segment[segment] = list(self._others)
                self._by_segment[segment].append(entry)

    def _entries_of(self, route: BaseRoute) -> Iterator[_Entry]:
        kind = type(route)
        if kind in {APIWebSocketRoute, WebSocketRoute}:
            return
        if isinstance(route, APIRoute) and kind.matches is APIRoute.matches:
            yield _entry(route, route, None, None)
        elif kind is _IncludedRouter:
            yield from self._included_entries(route)
        else:
            yield _Entry(route)

    def _included_entries(self, top: Any) -> Iterator[_Entry]:
        # What includes it is asked as a whole, if anything in it has to be.
        entries = list(self._flattened(top))
        known = [entry for entry in entries if entry is not None]
        yield from known if len(known) == len(entries) else [_Entry(top)]

    def _flattened(self, included: _IncludedRouter) -> Iterator[_Entry | None]:
        router = included.original_router
        self._routers.append(router)
        if type(router).matches is not APIRouter.matches or type(router).handle is not APIRouter.handle:
            yield None
            return
        for candidate in included.effective_candidates():
            if isinstance(candidate, _IncludedRouter):
                yield from self._flattened(candidate)
                continue
            route = candidate.original_route
            if isinstance(route, APIRoute) and type(route).matches is APIRoute.matches:
                yield _entry(route, candidate, candidate, included)
            elif type(route) not in {APIWebSocketRoute, WebSocketRoute}:
                yield None


def _entry(
    route: APIRoute, place: Any, context: _EffectiveRouteContext | None, included: _IncludedRouter | None
) -> _Entry:
    handler = route.handler_in(place) if isinstance(route, CompiledRoute) else None
    convertors = place.param_convertors.items()
    return _Entry(
        route,
        place.path_regex.match,
        frozenset(place.methods),
        tuple((name, convertor) for name, convertor in convertors if type(convertor) is not StringConvertor),
        handler,
        context,
        included,
    )


def _first_segment(entry: _Entry) -> str | None:
    """The first segment of a route's path, if it is the same for all of them."""
    if entry.match is None:
        return None
    path: str = (entry.context or entry.route).path_format
    segment = path[1:].partition("/")[0]
    return None if "{" in segment else segment
