"""What a client is told about its limits: of several that a request meets, the one that has the least left."""

from typing import Final

from starlette.responses import Response
from starlette.types import Message, Scope

from hardpoint.ratelimit.rate import Decision

__all__ = ["SCOPE_KEY", "Told", "limit_headers", "raw_limit_headers", "tell"]

_TOO_MANY: Final = 429

RawHeaders = list[tuple[bytes, bytes]]


def limit_headers(decision: Decision) -> dict[str, str]:
    """The headers of a limited response, their names in lower case.

    `RateLimit` and `RateLimit-Policy` as in draft-ietf-httpapi-ratelimit-headers-11: the policy's quota `q` in its
    window of `w` seconds; `r` left of it, whole again after `t` seconds. `X-RateLimit-Reset` is that `t` too.
    """
    return {name.decode(): value.decode() for name, value in raw_limit_headers(decision)}


def raw_limit_headers(decision: Decision) -> RawHeaders:
    """The same, as ASGI wants them."""
    rate, remaining = decision.charge.rate, decision.remaining
    reset = -(-decision.debt // rate.units_per_second)
    return [
        *rate.fixed_headers,
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % reset),
        (b"ratelimit", rate.left_format % (remaining, reset)),
    ]


SCOPE_KEY: Final = "hardpoint.ratelimit"
"""Where a request's scope holds its `Told`."""


class Told:
    """What the response to one request will say.

    An object, not the decision: what stands between the middleware and the route may copy the scope.

    Attributes:
        decision: The one to tell; `None` as long as no limit was met.
        response: Where FastAPI collects a route's headers; `None` when the middleware writes them instead.
    """

    __slots__ = ("decision", "response")

    def __init__(self, decision: Decision | None, response: Response | None) -> None:
        self.decision = decision
        self.response = response

    def add_headers(self, message: Message) -> None:
        """Tell, in a message that starts a response; a refusal from further in has told by itself."""
        if self.decision is not None:
            headers = message["headers"]
            if message["status"] != _TOO_MANY or all(name != b"ratelimit" for name, _ in headers):
                headers += raw_limit_headers(self.decision)


def tell(scope: Scope, response: Response, decision: Decision) -> None:
    """Tell of `decision`, which a dependency has come to, unless what is told already is tighter."""
    told: Told | None = scope.get(SCOPE_KEY)
    if told is None:
        scope[SCOPE_KEY] = Told(decision, response)
        response.raw_headers.extend(raw_limit_headers(decision))
    elif told.decision is None or decision.remaining <= told.decision.remaining:
        told.decision = decision
        if told.response is not None:
            told.response.headers.update(limit_headers(decision))
