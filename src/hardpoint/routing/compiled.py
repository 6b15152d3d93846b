"""A route class that works out at registration what a route needs, and answers in the shortest way that is equal."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import fastapi
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from hardpoint.routing.strict import StrictJSONRoute, StrictRequest, takes_json

# What was compared with FastAPI's own handler, by its test suite and by generated requests; others keep their own.
_KNOWN_VERSIONS: Final = ("0.165.",)
IS_KNOWN: Final = fastapi.__version__.startswith(_KNOWN_VERSIONS)

if TYPE_CHECKING or IS_KNOWN:
    # It reads what FastAPI has worked out about a route, by names that are FastAPI's own affair.
    from hardpoint.routing.running import CompiledHandler, compile_handler, place_of, place_of_request

__all__ = ["IS_KNOWN", "CompiledRoute", "StrictCompiledRoute"]

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class CompiledRoute(APIRoute):
    """A FastAPI route that is faster and otherwise the same: `APIRouter(route_class=CompiledRoute)`.

    FastAPI finds out with each request what each parameter is and how each dependency is called. Here that is done
    once. What is not understood is left to FastAPI's own handler: routes with forms, files, streams or concurrency
    limits; every request while `app.dependency_overrides` has entries, OpenTelemetry is set up, or somebody has
    replaced a function of `fastapi.routing`, as error trackers do; and every route under a version of FastAPI that this
    was not compared with.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # An included router has dependencies and defaults of its own in each place, and so a handler for each.
        self._compiled: dict[int, CompiledHandler] = {}
        super().__init__(*args, **kwargs)
        self._own_app = self.app

    @property
    def is_wrapped(self) -> bool:
        """Whether somebody has put something around `app`, which requests then pass through."""
        return self.app is not self._own_app

    @property
    def is_compiled(self) -> bool:
        """Whether this route, where it was declared, is answered in the short way."""
        return id(self) in self._compiled

    def get_route_handler(self) -> Handler:
        """A handler like FastAPI's own, which it has at hand for what it does not do itself."""
        handler = super().get_route_handler()
        if not IS_KNOWN:
            return handler
        place = place_of(self)
        is_strict = isinstance(self, StrictJSONRoute) and takes_json(place)
        compiled = compile_handler(place, handler, request_class=StrictRequest if is_strict else Request)
        if compiled is None:
            self._compiled.pop(id(place), None)
            return handler
        # Whoever overrides this method is asked for each request.
        compiled.is_direct &= type(self).get_route_handler is CompiledRoute.get_route_handler
        self._compiled[id(place)] = compiled
        return compiled.handle

    def handler_in(self, place: Any) -> "CompiledHandler | None":
        """What answers requests for this route in a place of it without FastAPI's own around it, if anything does."""
        if type(self).handle is not CompiledRoute.handle:
            return None
        compiled = self._compiled.get(id(place))
        return compiled if compiled is not None and compiled.is_direct else None

    # Not a coroutine function, because it has nothing to wait for itself.
    def handle(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Answer a request that matched."""
        if IS_KNOWN and not self.is_wrapped:
            compiled = self._compiled.get(id(place_of_request(self, scope)))
            if compiled is not None and compiled.is_direct and compiled.may_answer(scope):
                return compiled(scope, receive, send)
        return super().handle(scope, receive, send)


class StrictCompiledRoute(CompiledRoute, StrictJSONRoute):
    """A `CompiledRoute` that reads JSON as strictly as a `StrictJSONRoute`."""
