"""Calling a function outside of a request as FastAPI calls a route: arguments validated, dependencies resolved."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final, get_args, get_origin

from fastapi.dependencies.utils import get_dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

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
        TypeError: It is not async, takes `*args` or `**kwargs`, or a parameter has no annotation.
    """

    def __init__(self, function: Callable[..., Awaitable[None]]) -> None:
        name = getattr(function, "__qualname__", repr(function))
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{name} must be an async function")
        self.function = function
        fields: dict[str, Any] = {}
        dependencies: list[inspect.Parameter] = []
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            if parameter.kind in _VARIADIC or parameter.annotation is inspect.Parameter.empty:
                raise TypeError(f"{name} must name and annotate every parameter; {parameter.name} is not")
            if _is_dependency(parameter):
                dependencies.append(parameter)
            else:
                default = ... if parameter.default is inspect.Parameter.empty else parameter.default
                fields[parameter.name] = (parameter.annotation, default)
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        self._arguments: type[BaseModel] = create_model(f"{name} arguments", __config__=config, **fields)

        async def dependencies_alone() -> None:
            """Stands in for the function, so that FastAPI does not take its arguments for query parameters."""

        signature = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in dependencies])
        dependencies_alone.__signature__ = signature  # type: ignore[attr-defined] # inspect.signature looks for it.
        self._dependant = get_dependant(path="/", call=dependencies_alone)

    @property
    def argument_names(self) -> list[str]:
        """What has to be given; the other parameters are dependencies."""
        return list(self._arguments.model_fields)

    def encode(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as JSON values.

        Raises:
            TypeError: They do not fit the function.
        """
        return self._validated(arguments).model_dump(mode="json")

    def _validated(self, arguments: Mapping[str, Any]) -> BaseModel:
        try:
            return self._arguments.model_validate(dict(arguments))
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            told = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
            name = self.function.__qualname__
            raise TypeError(f"These arguments do not fit {name}: {told}") from None

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
        values = self._validated(arguments)
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "state": dict(state)}
        async with AsyncExitStack() as stack:
            try:
                dependencies = await stack.enter_async_context(resolved(self._dependant, scope, overrides=overrides))
            except RequestValidationError as error:
                missing = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
                name = self.function.__qualname__
                raise TypeError(f"A dependency of {name} needs what only a request has: {missing}") from None
            given = {name: getattr(values, name) for name in self._arguments.model_fields}
            await self.function(**given, **dependencies)


def _is_dependency(parameter: inspect.Parameter) -> bool:
    if isinstance(parameter.default, Depends):
        return True
    annotation = parameter.annotation
    return get_origin(annotation) is Annotated and any(isinstance(mark, Depends) for mark in get_args(annotation)[1:])
