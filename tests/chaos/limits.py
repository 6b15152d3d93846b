"""Whether the service's limit holds, seen from outside, over both instances together."""

import asyncio
import time
from collections.abc import Iterator
from itertools import count

import httpx2

from chaos.account import Account
from chaos.installation import INSTANCES, RATE_PER_MINUTE, Installation

_EXTRA = 25
_AT_ONCE = 8
_ATTEMPTS = 4
_ROUTE = "/.well-known/jwks.json"


def _addresses() -> Iterator[str]:
    return (f"127.9.{number // 250}.{number % 250 + 1}" for number in count())


class LimitProbe:
    """Sends more than the limit from an address that nobody has used, and counts what passes."""

    def __init__(self, here: Installation, account: Account) -> None:
        self._here = here
        self._account = account
        self._addresses = _addresses()
        self.exact = 0
        self.inconclusive = 0

    async def probe(self, *, exactly: bool) -> None:
        """Send, and judge by what the instances themselves think of the store.

        Args:
            exactly: Whether everything is up, so that neither too much nor too little may pass; otherwise only not too
                much, and only if no instance was without the store.
        """
        # On a busy machine the store may be too slow for a moment, which is an outage like any other.
        for _ in range(_ATTEMPTS if exactly else 1):
            outages = self._outages()
            passed, answers, seconds = await self._send()
            if outages is not None and self._outages() == outages:
                self._judge(passed, answers, seconds, exactly=exactly)
                return
        self.inconclusive += 1

    def _judge(self, passed: int, answers: dict[int, int], seconds: float, *, exactly: bool) -> None:
        most = RATE_PER_MINUTE + int(seconds * RATE_PER_MINUTE / 60) + 1
        if passed > most:
            self._account.violated(f"the limit let {passed} pass in {seconds:.2f} s, and should not more than {most}")
        if exactly and passed < RATE_PER_MINUTE:
            self._account.violated(f"the limit let {passed} pass, and should at least {RATE_PER_MINUTE}: {answers}")
        self.exact += exactly

    def _outages(self) -> int | None:
        """How often the instances have lost the store since they began; `None` while one is without it."""
        total = 0
        for name in INSTANCES:
            part = self._here.parts[name]
            part.read_log()
            lost = part.events_of_this_start["limiter_store_unavailable"]
            if lost != part.events_of_this_start["limiter_store_recovered"]:
                return None
            # A start counts like an outage: nothing is known of what was before.
            total += lost + part.starts * 1_000
        return total

    async def _send(self) -> tuple[int, dict[int, int], float]:
        answers: dict[int, int] = {}
        numbers = iter(range(RATE_PER_MINUTE + _EXTRA))
        transport = httpx2.AsyncHTTPTransport(local_address=next(self._addresses))
        async with httpx2.AsyncClient(base_url=self._here.url, transport=transport, timeout=60) as client:

            async def send() -> None:
                for _ in numbers:
                    try:
                        status = (await client.get(_ROUTE)).status_code
                    except httpx2.TransportError as error:
                        self._account.violated(f"GET {_ROUTE}: {error!r}")
                        continue
                    answers[status] = answers.get(status, 0) + 1

            began = time.monotonic()
            await asyncio.gather(*(send() for _ in range(_AT_ONCE)))
            seconds = time.monotonic() - began
        if unexpected := set(answers) - {200, 429, 503, 504}:
            self._account.violated(f"GET {_ROUTE} was answered with {sorted(unexpected)}")
        return answers.get(200, 0), answers, seconds
