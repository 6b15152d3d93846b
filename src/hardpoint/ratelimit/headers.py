"""What a client is told about its limits."""

from hardpoint.ratelimit.rate import Decision, whole_seconds

__all__ = ["limit_headers"]


def limit_headers(decision: Decision) -> dict[str, str]:
    """The headers of a limited response, their names in lower case.

    `RateLimit` and `RateLimit-Policy` as in draft-ietf-httpapi-ratelimit-headers-11: the policy's quota `q` in its
    window of `w` seconds; `r` left of it, whole again after `t` seconds. `X-RateLimit-Reset` is that `t` too.
    """
    rate = decision.charge.rate
    reset = whole_seconds(decision.reset_seconds) if decision.reset_seconds > 0 else 0
    return {
        "x-ratelimit-limit": str(rate.burst),
        "x-ratelimit-remaining": str(decision.remaining),
        "x-ratelimit-reset": str(reset),
        "ratelimit-policy": rate.policy,
        "ratelimit": f'"{rate.name}";r={decision.remaining};t={reset}',
    }
