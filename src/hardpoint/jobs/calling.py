"""Calling a function outside of a request as FastAPI calls a route: arguments validated, dependencies resolved."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Annotated, Any, Final, NotRequired, get_args, get_origin

from fastapi.dependencies.utils import get_dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from pydantic import ConfigDict, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_json
from typing_extensions import TypedDict

from hardpoint.resolving import Overrides, resolved

__all__ = ["Call"]

_VARIADIC: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


class Call:
    """How to call one function.

    Its parameters are arguments, which must be what Pydantic can write as JSON, or dependencies: annotated with
    `Depends(...)`, such as `session: Session`. A dependency sees a request that has the lifespan's state and nothing
    else: what needs the state works, what needs a header does not.

    Args:
        function: An async function.

    Raises:
        TypeError: It is not async, takes `*args` or `**kwargs`, or a parameter has no annotation or one of which
            Pydantic knows nothing.
    """

    def __init__(self, function: Callable[..., Awaitable[None]]) -> None:
        name = getattr(function, "__qualname__", repr(function))
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{name} must be an async function")
        self.function = function
        fields: dict[str, Any] = {}
        dependencies: list[inspect.Parameter] = []
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise TypeError(f"{name} is called by its parameters' names; {parameter.name} has none")
            if parameter.kind in _VARIADIC or parameter.annotation is inspect.Parameter.empty:
                raise TypeError(f"{name} must name and annotate every parameter; {parameter.name} is not")
            if _is_dependency(parameter):
                dependencies.append(parameter)
            elif isinstance(parameter.default, FieldInfo):
                raise TypeError(f"{name}: write {parameter.name}: Annotated[..., Field(...)] = its default")
            elif parameter.default is inspect.Parameter.empty:
                fields[parameter.name] = parameter.annotation
            else:
                # What was not given gets the default of the code that runs, as in any call.
                fields[parameter.name] = NotRequired[parameter.annotation]
        self._argument_names = list(fields)
        self._arguments = _adapter(name, fields)

        async def dependencies_alone() -> None:
            """Stands in for the function, so that FastAPI does not take its arguments for query parameters."""

        signature = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in dependencies])
        dependencies_alone.__signature__ = signature  # type: ignore[attr-defined] # inspect.signature looks for it.
        self._dependant = get_dependant(path="/", call=dependencies_alone)

    @property
    def argument_names(self) -> list[str]:
        """What may be given; the other parameters are dependencies."""
        return self._argument_names

    def encode(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as JSON values.

        Raises:
            TypeError: They do not fit the function, or cannot be written as JSON.
        """
        name = self.function.__qualname__
        with _told_of(name):
            validated = self._arguments.validate_python(dict(arguments))
        for argument, value in validated.items():
            if isinstance(value, SecretStr | SecretBytes):
                raise TypeError(f"{name}: {argument} is a secret, which does not belong into a database; pass an id")
        try:
            encoded: dict[str, Any] = self._arguments.dump_python(validated, mode="json")
            # It has what JSON has, and may have half of a surrogate pair, which nobody could read back.
            to_json(encoded)
        except (PydanticSerializationError, UnicodeError):
            raise TypeError(f"These arguments of {name} cannot be written as JSON") from None
        return encoded

    def decode(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What `encode` was given.

        Raises:
            TypeError: They do not fit the function, which may be another version of the one that they were for.
        """
        with _told_of(self.function.__qualname__):
            # As JSON, of which Pydantic takes a string for a date where it would not take one of Python's.
            decoded: dict[str, Any] = self._arguments.validate_json(to_json(arguments, inf_nan_mode="constants"))
        return decoded

    async def run(
        self,
        arguments: Mapping[str, Any],
        *,
        state: Mapping[str, Any],
        overrides: Overrides | None = None,
    ) -> None:
        """Call the function; its dependencies are closed when it has returned, committed or rolled back.

        Args:
            arguments: As `encode` gave them.
            state: The lifespan's state.
            overrides: Dependencies to replace.
        """
        values = self.decode(arguments)
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "state": dict(state)}
        async with AsyncExitStack() as stack:
            try:
                dependencies = await stack.enter_async_context(resolved(self._dependant, scope, overrides=overrides))
            except RequestValidationError as error:
                missing = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
                name = self.function.__qualname__
                raise TypeError(f"A dependency of {name} needs what only a request has: {missing}") from None
            await self.function(**values, **dependencies)


def _adapter(name: str, fields: dict[str, Any]) -> TypeAdapter[dict[str, Any]]:
    arguments = TypedDict(f"{name} arguments", fields)  # type: ignore[misc] # made from a function's parameters
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined] # what Pydantic looks for.
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(arguments)
    except PydanticUserError as error:
        raise TypeError(f"{name} has a parameter that cannot be written as JSON: {error.message}") from None
    return adapter


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Tell of arguments that do not fit without repeating them, because they may be secret."""
    try:
        yield
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        told = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise TypeError(f"These arguments do not fit {name}: {told}") from None


def _is_dependency(parameter: inspect.Parameter) -> bool:
    if isinstance(parameter.default, Depends):
        return True
    annotation = parameter.annotation
    return get_origin(annotation) is Annotated and any(isinstance(mark, Depends) for mark in get_args(annotation)[1:])
