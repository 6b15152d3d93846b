"""Asking nginx for one thing, and judging the answer by what may be answered."""

from typing import Any

import httpx2

from chaos.account import Account
from chaos.ledger import Ledger

# More than nginx waits for an instance.
_TIMEOUT_SECONDS = 60
_UNAVAILABLE = {503: "SERVICE_UNAVAILABLE", 504: "TIMEOUT"}


class Client:
    """Requests from one address of 127.0.0.0/8, which the service limits by itself.

    Args:
        url: nginx.
        address: Where they come from.
        account: Told of answers that nobody should get.
        ledger: Counts what was acknowledged, and what was not.
    """

    def __init__(self, url: str, address: str, account: Account, ledger: Ledger) -> None:
        self._client = httpx2.AsyncClient(
            base_url=url,
            transport=httpx2.AsyncHTTPTransport(local_address=address),
            timeout=_TIMEOUT_SECONDS,
        )
        self._account = account
        self._ledger = ledger

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(
        self, method: str, route: str, *expected: int, token: str | None = None, **options: Any
    ) -> httpx2.Response | None:
        """The answer when its status is one of `expected`, or `None` when it says that the service is not available.

        Everything else is a violation, a 500 above all.
        """
        parameters = options.pop("path", {})
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        what = f"{method} {route}"
        try:
            answer = await self._client.request(method, route.format(**parameters), headers=headers, **options)
        except httpx2.TransportError as error:
            self._account.violated(f"{what}: {error!r}")
            return None
        if answer.status_code in expected:
            self._ledger.acknowledged[what] += 1
            return answer
        told = f"{what}: {answer.status_code} {answer.text[:300]} {dict(answer.headers)}"
        if answer.status_code in _UNAVAILABLE:
            self._ledger.unavailable[f"{what} {answer.status_code}"] += 1
            if _code_of(answer) != _UNAVAILABLE[answer.status_code]:
                self._account.violated(told)
            return None
        self._account.violated(told)
        return None


def _code_of(answer: httpx2.Response) -> str | None:
    try:
        body = answer.json()
        # nginx's own answers have no such header, and the same id in their bodies.
        known = answer.headers.get("x-request-id", body["request_id"])
        return str(body["code"]) if body["request_id"] == known and body["detail"] else None
    except (ValueError, KeyError, TypeError):
        return None
