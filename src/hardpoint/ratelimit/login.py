"""What slows down guessing passwords: failures are counted, for the address and for the account."""

from dataclasses import replace

from hardpoint.arguments import check_argument
from hardpoint.errors import RateLimited
from hardpoint.log import get_logger
from hardpoint.ratelimit.headers import limit_headers
from hardpoint.ratelimit.keys import address_key
from hardpoint.ratelimit.rate import Charge, Limiter, Rate

__all__ = ["FailureLimiter"]

logger = get_logger("hardpoint.ratelimit")


class FailureLimiter:
    """Refuses an attempt after too many failures from an address or for an account.

    An attempt is charged before the password is looked at, so that a hundred at once are no way around, and given back
    when it succeeds. The account's bucket fills again at the rate's pace: a stranger can slow its owner down and never
    lock them out. A success empties the account's bucket; the address's only gets its own attempt back, or a guesser
    with one account of their own could begin anew with it.

    Args:
        limiter: Where the buckets are.
        rate: How many failures, for each address and for each account.
        needs_store: Answer 503 while the limiter's store is away, instead of counting in memory meanwhile, so that
            guessing gains nothing from an outage, and nobody logs in during one.

    Raises:
        TypeError: `limiter` is no limiter, or `rate` no `Rate`.
    """

    def __init__(self, limiter: Limiter, rate: Rate, *, needs_store: bool = False) -> None:
        check_argument("limiter", limiter, "hit", "MemoryLimiter(), or what open_valkey_limiter opens")
        check_argument("rate", rate, Rate, "Rate.parse('10/minute')")
        self._limiter = limiter
        self._needs_store = needs_store
        self._rate = replace(rate, name="login")

    async def attempt(self, *, address: str, account: str) -> None:
        """Charge the attempt to both.

        Raises:
            RateLimited: One of them has none left; then neither is charged.
            ServiceUnavailable: The store is away, and it is needed.
        """
        decision = await self._limiter.hit(self._by_address(address), self._by_account(account))
        if not decision.allowed:
            logger.warning("login_limited", policy=decision.charge.key.partition(":")[0])
            raise RateLimited(
                "Too many failed attempts",
                retry_after_seconds=self._rate.whole_seconds(decision.excess),
                headers=limit_headers(decision),
            )

    async def succeeded(self, *, address: str, account: str) -> None:
        """Give the attempt back to the address, and forget the account's failures."""
        await self._limiter.hit(self._by_address(address, cost=-1))
        await self._limiter.reset(self._by_account(account))

    def _by_address(self, address: str, cost: int = 1) -> Charge:
        return Charge(self._rate, f"address:{address_key(address)}", cost, self._needs_store and cost > 0)

    def _by_account(self, account: str) -> Charge:
        return Charge(self._rate, f"account:{account}", needs_store=self._needs_store)
