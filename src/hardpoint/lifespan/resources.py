"""What a service opens when it starts: named, typed, ordered, and closed in reverse whatever happens."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Generic, TypeVar, cast

from starlette.requests import HTTPConnection

from hardpoint.scope import of_lifespan

__all__ = ["Opened", "Resource"]

T = TypeVar("T")


class Opened:
    """The resources that are open already, for one that builds on them: `opened[database]`.

    Args:
        values: The open resources by name.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, resource: "Resource[T]") -> T:
        """The value of `resource`.

        Raises:
            LookupError: It is not open yet; declare it earlier.
        """
        if resource.name not in self._values:
            raise LookupError(f"The resource {resource.name!r} is not open yet; declare it before the one that uses it")
        return cast("T", self._values[resource.name])

    def get(self, resource: "Resource[T]") -> T | None:
        """The value of `resource`, or `None` when it is not open."""
        return cast("T | None", self._values.get(resource.name))

    @property
    def state(self) -> Mapping[str, Any]:
        """Every open resource's value by name, those that are opened later too: the lifespan's state."""
        return self._values

    def __contains__(self, resource: "Resource[Any]") -> bool:
        return resource.name in self._values


class Resource(Generic[T]):
    """Something that is opened when the service starts and closed when it ends.

    It is a dependency as well: `Annotated[Database, Depends(database)]` gives the open value in a route or a WebSocket,
    and `app.dependency_overrides[database]` replaces it.

    Args:
        name: Its name in `request.state` and in the readiness report; a Python identifier.
        open: Makes the async context manager whose value the resource is; called at each start with what is open.
        check: Raises when the value cannot be used at the moment. Without it, an open resource counts as ready.
        check_timeout_seconds: After which an unfinished check has failed.
        close_timeout_seconds: After which closing is given up, so that the others are closed too.
        required: Whether a failed check makes the service not ready, or is only reported.

    Raises:
        ValueError: The name is no identifier, or a time is not more than 0.
        TypeError: `open` or `check` is no function; a context manager that is made already can be opened but once.
    """

    def __init__(
        self,
        name: str,
        open: Callable[[Opened], AbstractAsyncContextManager[T]],  # noqa: A002 - the word for it.
        *,
        check: Callable[[T], Awaitable[None]] | None = None,
        check_timeout_seconds: float = 1.0,
        close_timeout_seconds: float = 10.0,
        required: bool = True,
    ) -> None:
        if not name.isidentifier():
            raise ValueError(f"A resource's name must be a Python identifier, and {name!r} is not")
        # What `@asynccontextmanager` has made can be called as well, as a decorator.
        opening: Any = open
        if isinstance(opening, AbstractAsyncContextManager) or not callable(opening):
            raise TypeError(
                f"{name}: {opening!r} is no function that opens it; write Resource({name!r}, lambda opened: ...)"
            )
        if check is not None and not callable(check):
            raise TypeError(f"{name}: {check!r} is no function that checks it; write check=an_async_function")
        if not check_timeout_seconds > 0 or not close_timeout_seconds > 0:
            raise ValueError(f"{name}: check_timeout_seconds and close_timeout_seconds must be more than 0")
        self.name = name
        self.open = open
        self.check = check
        self.check_timeout_seconds = check_timeout_seconds
        self.close_timeout_seconds = close_timeout_seconds
        self.required = required

    @classmethod
    def constant(cls, name: str, value: T) -> "Resource[T]":
        """A resource whose value is there already and needs no closing."""
        return cls(name, lambda _: nullcontext(value))

    async def __call__(self, connection: HTTPConnection) -> T:
        """The open value, for the request or WebSocket of `connection`."""
        # Async, because FastAPI runs other callables in threads.
        return self.of(connection)

    def of(self, connection: HTTPConnection) -> T:
        """The open value, for whoever has the connection at hand."""
        return cast("T", of_lifespan(connection.scope, self.name))

    def __repr__(self) -> str:
        return f"Resource({self.name!r})"
