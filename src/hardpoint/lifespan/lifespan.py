"""The lifespan of an application: resources, then the user's own lifespan, then those of mounted applications."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, TypeVar

from starlette.applications import Starlette
from starlette.routing import Host, Mount

from hardpoint.lifespan.resources import Opened, Resource
from hardpoint.log import get_logger

__all__ = ["Lifespan", "UserLifespan"]

T = TypeVar("T")
UserLifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

logger = get_logger("hardpoint.lifespan")

DRAIN: Final = "drain"
"""What the drain is called among the resources."""


class Lifespan:
    """What to give to `FastAPI(lifespan=...)`: opens resources in order and closes them in reverse.

    When one fails to open, those before it are closed and the start fails. When closing one raises or takes longer than
    its limit, the others are closed all the same; then the error is raised.

    When something that a resource runs in the background fails while the service runs, everything is closed, and the
    server is told to stop by the `Drain` among the resources. Without one it would go on serving, with nothing open.

    The open values are the lifespan's state: `request.state.database`. A mounted application sees the same state.

    Args:
        *resources: In the order in which they are opened.
        then: The application's own lifespan, run inside: the resources are in `app.state` while it runs, and what it
            yields is added to the state.
        mounted: Whether to run the lifespans of mounted applications too, which Starlette does not.

    Raises:
        ValueError: Two resources have one name.
        TypeError: One of them is no `Resource`, or `then` is no function.
    """

    def __init__(self, *resources: Resource[Any], then: UserLifespan | None = None, mounted: bool = True) -> None:
        resource: Any
        for resource in resources:
            if not isinstance(resource, Resource):
                raise TypeError(f"{resource!r} is no Resource; write Lifespan(Resource('name', open_it), ...)")
        if then is not None and not callable(then):
            raise TypeError(f"then={then!r} is no function of the application that gives an async context manager")
        names = [resource.name for resource in resources]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"Two resources are named {', '.join(repeated)}")
        self.resources = resources
        self._then = then
        self._mounted = mounted

    @asynccontextmanager
    async def __call__(self, app: Starlette) -> AsyncIterator[dict[str, Any]]:
        """Open everything for `app`, yield the state, close everything."""
        state: dict[str, Any] = {}
        async with AsyncExitStack() as stack:
            for resource in self.resources:
                state[resource.name] = await stack.enter_async_context(_Bounded(resource, Opened(state)))
                logger.debug("resource_opened", resource=resource.name)
            for name, value in state.items():
                setattr(app.state, name, value)
            stack.callback(_forget, app, list(state))
            for lifespan, owner in self._inner(app):
                inner = lifespan(owner)
                _check("The application's own lifespan", inner)
                _merge(state, await stack.enter_async_context(inner))
            try:
                yield state
            except BaseException:
                _give_up(state)
                raise

    def _inner(self, app: Starlette) -> list[tuple[UserLifespan, Starlette]]:
        inner: list[tuple[UserLifespan, Starlette]] = []
        if self._then is not None:
            inner.append((self._then, app))
        if self._mounted:
            inner += [(mounted.router.lifespan_context, mounted) for mounted in _mounted_applications(app)]
        return inner


def _give_up(state: Mapping[str, Any]) -> None:
    """Something that runs beside the requests has failed, and everything is about to be closed."""
    logger.error("service_failed")
    drain: Any = state.get(DRAIN)
    if drain is not None:
        # A server goes on without its lifespan, and would answer from what is closed.
        drain.give_up()


def _forget(app: Starlette, names: list[str]) -> None:
    for name in names:
        delattr(app.state, name)


def _merge(state: dict[str, Any], addition: Mapping[str, Any] | None) -> None:
    for name, value in (addition or {}).items():
        if name in state:
            raise ValueError(f"The lifespan's state has {name!r} already")
        state[name] = value


def _mounted_applications(app: Starlette) -> list[Starlette]:
    found: list[Starlette] = []
    for route in app.routes:
        if isinstance(route, Mount | Host) and isinstance(route.app, Starlette):
            found.append(route.app)
            # A mounted application with a Lifespan of ours runs those below it by itself.
            if not isinstance(route.app.router.lifespan_context, Lifespan):
                found += _mounted_applications(route.app)
    return found


def _check(what: str, opened: Any) -> None:
    if not isinstance(opened, AbstractAsyncContextManager):
        kind = type(opened).__name__
        told = f"{what} must open as an async context manager, and a {kind} is none"
        raise TypeError(f"{told}; its function may lack @asynccontextmanager")


class _Bounded(AbstractAsyncContextManager[T]):
    """A resource's context manager whose end is limited in time and logged when it fails."""

    def __init__(self, resource: Resource[T], opened: Opened) -> None:
        self._resource = resource
        self._opened = opened

    async def __aenter__(self) -> T:
        try:
            self._manager = self._resource.open(self._opened)
            _check(f"The resource {self._resource.name!r}", self._manager)
            return await self._manager.__aenter__()
        except BaseException as error:
            # The server logs the exception itself; this says whose it was.
            logger.warning("resource_failed_to_open", resource=self._resource.name, error=type(error).__name__)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        try:
            async with asyncio.timeout(self._resource.close_timeout_seconds):
                return await self._manager.__aexit__(kind, error, trace)
        except BaseException as failure:
            if failure is not error:
                logger.warning("resource_failed_to_close", resource=self._resource.name, error=type(failure).__name__)
            raise
