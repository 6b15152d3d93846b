"""A run: load, faults one after the other, and after each everything that must hold."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from statistics import median
from typing import Final, TypeVar

import httpx2

from chaos.account import Account
from chaos.checks import MAIL_SECONDS, Checks
from chaos.client import Client
from chaos.faults import Fault, inflict
from chaos.follower import Follower, Heard
from chaos.installation import ADMIN, WORKERS, Installation
from chaos.ledger import Ledger
from chaos.limits import LimitProbe
from chaos.member import Member
from chaos.memory import Memory
from hardpoint.aio import task_group
from support.service import PASSWORD

T = TypeVar("T")

RECOVERY_SECONDS: Final = 60
"""Within which everything is as before once a fault is over."""
_MEMBERS: Final = 6
_FOLLOWERS: Final = 6
_ADDRESSES: Final = 3
_CALM_SECONDS: Final = (0.5, 2.0)


class Campaign:
    """A run; make it with `Campaign.begun`."""

    def __init__(self, here: Installation, account: Account, client: httpx2.AsyncClient, seed: int) -> None:
        self.here = here
        self.account = account
        self.ledger = Ledger()
        self.heard = Heard()
        self.members: list[Member] = []
        self.followers: list[Follower] = []
        self.limits = LimitProbe(here, account)
        self.checks = Checks(here, self.ledger, self.followers, account, client)
        self.recoveries: list[float] = []
        self.memory = Memory(here)
        self._chance = random.Random(seed)
        self._client = client
        self._database_faults = 0
        self._gate = asyncio.Event()
        self._gate.set()

    @classmethod
    @asynccontextmanager
    async def begun(cls, here: Installation, account: Account, seed: int) -> AsyncIterator["Campaign"]:
        """With everybody at work; they stop at the end."""
        async with httpx2.AsyncClient(timeout=5) as client, task_group() as group:
            campaign = cls(here, account, client, seed)
            tasks = [group.create_task(part.keep()) for part in here.parts.values()]
            try:
                await campaign._wait_until_ready()
                account.note("every part is ready")
                async with campaign._people(group):
                    yield campaign
            finally:
                for task in tasks:
                    task.cancel()

    async def _wait_until_ready(self) -> None:
        async with asyncio.timeout(2 * RECOVERY_SECONDS):
            while not all([await part.is_ready(self._client) for part in self.here.parts.values()]):
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def _people(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        clients: list[Client] = []

        def client_from(address: str) -> Client:
            clients.append(Client(self.here.url, address, self.account, self.ledger))
            return clients[-1]

        tasks = []
        try:
            names = [f"member-{number}" for number in range(1, _MEMBERS + 1)]
            await asyncio.gather(*(self._join(name, client_from(f"127.7.0.{at}")) for at, name in enumerate(names, 1)))
            hot_post = await self._hot_post(client_from("127.7.1.1"))
            for at, name in enumerate(names, 1):
                own = [client_from(f"127.1.{at}.{number}") for number in range(1, _ADDRESSES + 1)]
                chance = random.Random(self._chance.random())
                self.members.append(Member(name, own, self.account, self.ledger, hot_post, self._gate, chance))
                self.ledger.last_success[name] = 0.0
            channels = ["posts", f"post:{hot_post}"]
            for number in range(1, _FOLLOWERS + 1):
                self.followers.append(
                    Follower(
                        f"follower-{number}",
                        f"{names[number % _MEMBERS]}@example.com",
                        f"127.2.0.{number}",
                        self.here.url,
                        channels,
                        by_ticket=number % 2 == 0,
                        heard=self.heard,
                        account=self.account,
                        ledger=self.ledger,
                    )
                )
            self.account.note("everybody is there")
            tasks += [group.create_task(somebody.run()) for somebody in (*self.members, *self.followers)]
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in clients:
                await client.close()

    async def _join(self, name: str, client: Client) -> None:
        """What a new member does: register, read the mail, prove the address."""
        address = f"{name}@example.com"
        body = {"email": address, "password": PASSWORD, "name": name}
        await client.ask("POST", "/auth/register", 202, json=body)
        token = await _found(lambda: self.here.mailbox.token_for(address))
        await client.ask("POST", "/auth/verify-email", 204, json={"token": token})

    async def _hot_post(self, client: Client) -> int:
        form = {"username": ADMIN, "password": PASSWORD}
        answer = await client.ask("POST", "/auth/login", 200, data=form)
        assert answer is not None
        token = answer.json()["access_token"]
        answer = await client.ask("POST", "/posts", 201, token=token, json={"title": "Hot", "body": "Say something."})
        assert answer is not None
        post_id: int = answer.json()["id"]
        await client.ask("POST", "/posts/{id}/publish", 202, token=token, path={"id": post_id})
        async with asyncio.timeout(RECOVERY_SECONDS):
            answer = None
            while answer is None or answer.status_code != 200:
                await asyncio.sleep(0.1)
                answer = await client.ask("GET", "/posts/{id}", 200, 404, path={"id": post_id})
        return post_id

    # Faults

    async def run(self, rounds: Iterable[list[Fault]]) -> None:
        """Each round of faults, and what must hold after it; raises at the first violation.

        Raises:
            AssertionError: Something was violated; tells the seed and the timeline.
        """
        await self._settle("the begin")
        self._measure_memory()
        for faults in rounds:
            await asyncio.sleep(self._chance.uniform(*_CALM_SECONDS))
            for fault in faults:
                self.account.note(f"FAULT     {fault}")
                self.heard.store_has_forgotten |= fault.forgets
                self._database_faults += "postgres" in fault.target
            disturbed = [asyncio.create_task(inflict(self.here, fault)) for fault in faults]
            if not any(fault.touches_valkey for fault in faults):
                await self.limits.probe(exactly=False)
            await asyncio.gather(*disturbed)
            await self._settle(" and ".join(map(str, faults)))
            await self.limits.probe(exactly=True)
            async with self._quiet():
                await self.checks.run()
            self._measure_memory()
            self.account.check()

    async def finish(self, *, patiently: bool) -> None:
        """Wait for every mail, and look once more.

        Args:
            patiently: Also for those that a worker took with it when it died, which are sent two minutes later.
        """
        async with self._quiet():
            deadline = self.account.seconds + MAIL_SECONDS
            while (waiting := await self.checks.waiting_mails(leased=patiently)) and self.account.seconds < deadline:
                await asyncio.sleep(0.5)
            if waiting:
                self.account.violated(f"{waiting} mails still wait after {MAIL_SECONDS} seconds")
            await self.checks.run()
        # A worker hands over one mail after the other; one that dies, or loses the database, between a mail and the
        # note that it is sent sends this one again.
        most = len(WORKERS) * self._database_faults + sum(self.here.parts[name].starts for name in WORKERS)
        if self.repeated_mails > most:
            self.account.violated(f"{self.repeated_mails} mails came more than once, and {most} could have")
        self.account.check()

    @asynccontextmanager
    async def _quiet(self) -> AsyncIterator[None]:
        """Nobody begins anything meanwhile, and nothing is in flight."""
        self._gate.clear()
        while not all(member.is_idle for member in self.members):
            await asyncio.sleep(0.05)
        yield
        self._gate.set()

    async def _settle(self, after: str) -> None:
        """Wait until everything has come back, and everything that was promised has happened."""
        promised, lagging = self.checks.promised(), ["nobody has looked"]
        while lagging and self.account.seconds < promised.at + RECOVERY_SECONDS:
            await asyncio.sleep(0.2)
            lagging = await self.checks.lagging(promised)
        took = self.account.seconds - promised.at
        if lagging:
            self.account.violated(f"{RECOVERY_SECONDS} seconds after {after}: {'; '.join(lagging[:10])}")
            self.account.check()
        self.recoveries.append(took)
        self.account.note(f"recovered in {took:.1f} s")

    def _measure_memory(self) -> None:
        self.memory.read()
        for told in self.memory.grown():
            self.account.violated(told)

    def summary(self) -> str:
        """The figures of the run."""
        slowest = sorted(self.recoveries[1:])
        connections = sum(follower.connections for follower in self.followers)
        asked, refused = self.ledger.acknowledged.total(), self.ledger.unavailable.total()
        lines = [
            f"{self.account.title}: {self.account.seconds:.0f} s, {asked} requests done, {refused} not available",
            f"acknowledged: {dict(self.ledger.acknowledged)}",
            f"not available: {dict(self.ledger.unavailable)}",
            f"{len(self.heard.messages)} messages, {len(self.followers)} sockets, {connections} connections",
            f"{len(self.here.mailbox.mails)} mails, {self.repeated_mails} of them more than once",
            f"recovered after {median(slowest):.1f} s in the median, {slowest[-1]:.1f} s at most" if slowest else "",
            f"limit: {self.limits.exact} times exact, {self.limits.inconclusive} times a store was away",
        ]
        lines += self.memory.summary()
        return "\n".join(lines)

    @property
    def repeated_mails(self) -> int:
        """How many arrived again: who handed one over died before it was noted."""
        mails = [(mail.to, mail.text) for mail in self.here.mailbox.mails]
        return len(mails) - len(set(mails))


async def _found(look: Callable[[], T | None]) -> T:
    async with asyncio.timeout(RECOVERY_SECONDS):
        while (found := look()) is None:
            await asyncio.sleep(0.05)
        return found
