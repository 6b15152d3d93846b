"""Routes that are about to go: said in the document and in every response (RFC 9745, RFC 8594)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, TypeVar

from starlette.types import Message

from hardpoint.asgi import Exchange, Part

__all__ = ["Deprecation", "DeprecationMiddleware", "deprecated", "deprecation_of"]

F = TypeVar("F", bound=Callable[..., Any])
_MARK: Final = "__hardpoint_deprecation__"


@dataclass(frozen=True, slots=True)
class Deprecation:
    """That a route is deprecated, and what comes then.

    Attributes:
        since: From when on it is deprecated.
        sunset: From when on it may be gone; not before `since`.
        successor: The address of what to use instead.
        documentation: The address of a page about it.
    """

    since: datetime
    sunset: datetime | None = None
    successor: str | None = None
    documentation: str | None = None

    def __post_init__(self) -> None:
        if any(moment is not None and moment.tzinfo is None for moment in (self.since, self.sunset)):
            raise ValueError("A deprecation's moments need a time zone")
        if self.sunset is not None and self.sunset < self.since:
            raise ValueError("A route cannot be gone before it is deprecated")
        for address in (self.successor, self.documentation):
            if address is not None and not (
                address.isascii() and address.isprintable() and not set('<>" ') & set(address)
            ):
                raise ValueError(f"{address!r} cannot stand in a Link header")

    @property
    def headers(self) -> dict[str, str]:
        """`Deprecation` (RFC 9745, section 2), `Sunset` (RFC 8594, section 3) and `Link` (RFC 8288)."""
        headers = {"Deprecation": f"@{int(self.since.timestamp())}"}
        if self.sunset is not None:
            headers["Sunset"] = format_datetime(self.sunset.astimezone(UTC), usegmt=True)
        links = [
            f'<{address}>; rel="{relation}"'
            for address, relation in ((self.successor, "successor-version"), (self.documentation, "deprecation"))
            if address is not None
        ]
        if links:
            headers["Link"] = ", ".join(links)
        return headers

    @property
    def text(self) -> str:
        """What the document says; its days are those of UTC, as in the headers."""
        told = f"Deprecated since {self.since.astimezone(UTC):%Y-%m-%d}."
        if self.sunset is not None:
            told += f" It may be gone from {self.sunset.astimezone(UTC):%Y-%m-%d} on."
        return told if self.successor is None else f"{told} Use `{self.successor}` instead."


def deprecated(
    *,
    since: datetime,
    sunset: datetime | None = None,
    successor: str | None = None,
    documentation: str | None = None,
) -> Callable[[F], F]:
    """Mark a route function as deprecated; below the route's decorator.

        @router.get("/old")
        @deprecated(since=datetime(2026, 1, 1, tzinfo=UTC), successor="/new")
        async def old() -> None: ...

    `install_openapi` says it in the document, `DeprecationMiddleware` in every response of the route.

    Args:
        since: From when on it is deprecated; with a time zone.
        sunset: From when on it may be gone; not before `since`.
        successor: The address of what to use instead.
        documentation: The address of a page about it.

    Raises:
        ValueError: A moment has no time zone, the sunset is before `since`, or an address cannot stand in a header.
    """
    deprecation = Deprecation(since=since, sunset=sunset, successor=successor, documentation=documentation)

    def mark(function: F) -> F:
        setattr(function, _MARK, deprecation)
        return function

    return mark


def deprecation_of(function: object) -> Deprecation | None:
    """The deprecation of a route function, if it has one."""
    found: Deprecation | None = getattr(function, _MARK, None)
    return found


class DeprecationMiddleware(Part):
    """Say in every response of a deprecated route, errors too, that it is.

    Args:
        app: The application inside.
    """

    def on_response(self, exchange: Exchange, message: Message) -> None:
        """Say it, if it is."""
        # The router has noted the function in the scope by now.
        if found := deprecation_of(exchange.scope.get("endpoint")):
            message["headers"] += [(name.lower().encode(), value.encode()) for name, value in found.headers.items()]
