"""Which channels there are, who may receive them, and what their messages are."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.requests import HTTPConnection
from starlette.routing import compile_path

from hardpoint.arguments import check_argument
from hardpoint.errors import NotFound, ValidationFailed
from hardpoint.errors.validation import field_errors_from
from hardpoint.realtime.identity import Identity, current_identity
from hardpoint.realtime.store import History
from hardpoint.resolving import Overrides, resolved

__all__ = ["Channel", "Channels", "Match"]

Guard = TypeVar("Guard", bound=Callable[..., Awaitable[Any]])
_PATTERN: Final = re.compile(r"[A-Za-z0-9_.:{}-]{1,200}")
# A colon, but not one within a parameter's braces.
_OUTSIDE: Final = re.compile(r":(?![^{}]*\})")
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


class Channel:
    """A declared channel, or a pattern of them.

    Args:
        pattern: Its name, with parameters as in a route's path, which end at a colon: `post:{post_id}`.
        guard: The dependency that decides who may receive it.
        history: How much is kept.
        message: The type of its messages' data; anything that JSON can hold by default.
        presence: Whether to know who receives it.
    """

    def __init__(
        self,
        pattern: str,
        guard: Callable[..., Awaitable[Any]],
        *,
        history: History,
        message: Any = Any,
        presence: bool = False,
    ) -> None:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(f"{pattern!r} is no channel: letters, digits, _ . : - and {{parameters}}")
        if not inspect.iscoroutinefunction(guard):
            raise TypeError(f"The guard of the channel {pattern} must be an async function")
        self.pattern = pattern
        self.guard = guard
        self.history = history
        self.presence = presence
        self.message: TypeAdapter[Any] = TypeAdapter(message)
        self.parameters: list[str]
        # The same syntax and, with the dependant, the same parsing as a route's, whose parameters end at a slash.
        # Without slashes Starlette reads it as a host: in any case, and without what follows the last colon.
        self._regex, _, convertors = compile_path("/" + _OUTSIDE.sub("/", pattern))
        self.parameters = list(convertors)
        self._dependant = get_dependant(path=pattern, call=guard)
        self._fields = tuple(_path_fields(self._dependant))

    def match(self, name: str) -> Mapping[str, str] | None:
        """The parameters of `name` when it is one of these.

        A channel has one name: `post:7` is never called `post:07` or `post:+7`, which a route would read as the same
        and which would be a channel, with a history, that nobody publishes to.
        """
        found = self._regex.match("/" + name.replace(":", "/"))
        if found is None:
            return None
        parameters = {key: value.replace("/", ":") for key, value in found.groupdict().items()}
        return parameters if all(_is_written_so(field, parameters) for field in self._fields) else None

    def encode(self, data: Any) -> bytes:
        """Data as JSON.

        Raises:
            ValueError: It is not of the declared type, or JSON cannot hold it.
        """
        return self.message.dump_json(self.message.validate_python(data, from_attributes=True))

    async def authorize(
        self,
        connection: HTTPConnection,
        parameters: Mapping[str, str],
        identity: Identity,
        overrides: Mapping[Callable[..., Any], Callable[..., Any]],
    ) -> None:
        """Run the guard.

        Raises:
            ValidationFailed: A parameter is not what it should be.
            ApiError: Whatever the guard raises.
        """
        scope = {**connection.scope, "path_params": dict(parameters), "hardpoint.identity": identity}
        app = connection.scope.get("app")
        overrides = {**overrides, **getattr(app, "dependency_overrides", {})}
        try:
            async with resolved(self._dependant, scope, overrides=Overrides(overrides)) as values:
                await self.guard(**values)
        except RequestValidationError as error:
            raise ValidationFailed(*field_errors_from(error.errors())) from None


def _path_fields(dependant: Dependant) -> Iterator[Any]:
    yield from dependant.path_params
    for dependency in dependant.dependencies:
        yield from _path_fields(dependency)


def _is_written_so(field: Any, parameters: Mapping[str, str]) -> bool:
    text = parameters.get(field.alias)
    value, errors = field.validate(text)
    if text is None or errors:
        # The guard's dependencies say what is wrong.
        return True
    written = field.serialize(value, mode="json")
    return bool(text == (written if isinstance(written, str) else to_json(written).decode()))


@dataclass(frozen=True, slots=True)
class Match:
    """A channel by its name.

    Attributes:
        name: The name, never the short form.
        channel: What it was declared as.
        parameters: Its parameters, unparsed.
    """

    name: str
    channel: Channel
    parameters: Mapping[str, str]


class Channels:
    """An application's channels.

        channels = Channels()

        @channels.channel("post:{post_id}", message=CommentOut)
        async def comments(post: VisiblePost) -> None:
            "A post's comments as they are written."

    The decorated function is the guard, a dependency like a route's: it may ask for the user, the database session and
    the path's parameters, and whoever is not to receive the channel gets what it raises as an error. It runs at each
    subscription, and again when the user's role changes.

    Every user has a channel of their own, `user:{user_id}`, for `Hub.send_to_user`; `user` is short for one's own.

    Args:
        user_history: How much of those is kept; 256 messages for an hour by default.

    Raises:
        TypeError: It is no `History`.
    """

    def __init__(self, *, user_history: History | None = None) -> None:
        self._declared: list[Channel] = []
        self.user = self._add(Channel("user:{user_id}", _own_channel, history=_history(user_history)))

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._declared)

    def channel(
        self, pattern: str, *, history: History | None = None, message: Any = Any, presence: bool = False
    ) -> Callable[[Guard], Guard]:
        """Declare a channel, or a pattern of them.

        Args:
            pattern: Its name: letters, digits, `_ . : -`, and parameters as in a route's path, which end at a colon
                unless they are declared as `{name:path}`.
            history: How much is kept for those who come back; 256 messages for an hour by default.
            message: The type of its messages' data, which `publish` checks and `/asyncapi.json` shows.
            presence: Whether `Hub.presence` knows who receives it.

        Raises:
            ValueError: The pattern cannot be read, or is declared already.
            TypeError: The pattern is no text, the history no `History`, or the guard not async.
        """
        # Without its brackets the decorator would declare nothing.
        check_argument("channel", pattern, str, "a name, @channels.channel('posts')")
        kept = _history(history)

        def declare(guard: Guard) -> Guard:
            self._add(Channel(pattern, guard, history=kept, message=message, presence=presence))
            return guard

        return declare

    def _add(self, channel: Channel) -> Channel:
        if any(channel.pattern == other.pattern for other in self._declared):
            raise ValueError(f"The channel {channel.pattern} is declared twice")
        self._declared.append(channel)
        return channel

    def match(self, name: str, identity: Identity | None = None) -> Match:
        """The channel called `name`; what is declared first wins.

        Args:
            name: A channel's name, or `user` for one's own.
            identity: Who asks; only needed for `user`.

        Raises:
            NotFound: There is none.
        """
        if name == "user" and identity is not None and identity.user_id is not None:
            name = self.user_channel(identity.user_id)
        for channel in self._declared if _NAME.fullmatch(name) else ():
            if (parameters := channel.match(name)) is not None:
                return Match(name, channel, parameters)
        raise NotFound("There is no such channel")

    def user_channel(self, user_id: int | str) -> str:
        """The name of a user's own channel."""
        return f"user:{user_id}"


def _history(given: History | None) -> History:
    check_argument("history", given, History | None, "History(count=256, seconds=3600)")
    return given or History()


async def _own_channel(user_id: str, identity: Annotated[Identity, Depends(current_identity)]) -> None:
    """What concerns one user alone."""
    if identity.user_id is None or user_id != str(identity.user_id):
        raise NotFound("There is no such channel")
