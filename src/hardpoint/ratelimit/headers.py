"""What a client is told about its limits."""

from hardpoint.ratelimit.rate import Decision, whole_seconds

__all__ = ["limit_headers"]


def limit_headers(decision: Decision) -> dict[str, str]:
    """The headers of a limited response.

    `RateLimit` and `RateLimit-Policy` as in draft-ietf-httpapi-ratelimit-headers-11: the policy's quota `q` in its
    window of `w` seconds; `r` left of it, whole again after `t` seconds. `X-RateLimit-Reset` is that `t` too.
    """
    rate = decision.charge.rate
    reset = whole_seconds(decision.reset_seconds) if decision.reset_seconds > 0 else 0
    return {
        "X-RateLimit-Limit": str(rate.burst),
        "X-RateLimit-Remaining": str(decision.remaining),
        "X-RateLimit-Reset": str(reset),
        "RateLimit-Policy": f'"{rate.name}";q={rate.burst};w={whole_seconds(rate.window_seconds)}',
        "RateLimit": f'"{rate.name}";r={decision.remaining};t={reset}',
    }
