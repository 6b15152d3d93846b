"""Somebody who uses the service all the time, at a bounded pace, and remembers what they were promised."""

import asyncio
import json
import random
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from typing import Final

from chaos.account import Account
from chaos.client import Client
from chaos.ledger import Family, Ledger, WrittenPost
from support.service import PASSWORD

# The service's own, in which the token before the newest is taken once more.
GRACE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = (0.2, 0.8)
_RETRY_SECONDS: Final = 0.3
_MOST_FAMILIES: Final = 4


class Member:
    """One person.

    Args:
        name: Their address before the @.
        clients: Where their requests come from, in turns.
        account: Told of what must not happen.
        ledger: Where what was acknowledged is kept.
        hot_post: The post on which everybody comments.
        gate: Open while they may begin something.
        chance: What they do next.

    Attributes:
        is_idle: Whether nothing is in flight.
    """

    def __init__(
        self,
        name: str,
        clients: list[Client],
        account: Account,
        ledger: Ledger,
        hot_post: int,
        gate: asyncio.Event,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.email = f"{name}@example.com"
        self.hot_post = hot_post
        self._clients = clients
        self._account = account
        self._ledger = ledger
        self._gate = gate
        self._chance = chance
        self.is_idle = True
        self._number = 0
        self._families: list[Family] = []
        self._actions: dict[Callable[[], Awaitable[bool]], int] = {
            self._write: 22,
            self._publish: 14,
            self._comment: 24,
            self._read: 12,
            self._change: 6,
            self._delete: 3,
            self._refresh: 12,
            self._log_in: 4,
            self._log_out: 2,
            self._register: 1,
        }

    @property
    def client(self) -> Client:
        return self._chance.choice(self._clients)

    @property
    def family(self) -> Family:
        return self._families[-1]

    async def run(self) -> None:
        """Until cancelled."""
        actions, weights = list(self._actions), list(self._actions.values())
        while True:
            self.is_idle = True
            await self._gate.wait()
            self.is_idle = False
            (action,) = self._chance.choices(actions, weights) if self._families else (self._log_in,)
            if await action():
                self._ledger.last_success[self.name] = self._account.seconds
            self.is_idle = True
            await asyncio.sleep(self._chance.uniform(*_PAUSE_SECONDS))

    def _unique(self, what: str) -> str:
        self._number += 1
        return f"{what} {self._number} by {self.name}"

    def _own(self, *, drafts: bool) -> list[int]:
        own = [(post_id, post) for post_id, post in self._ledger.posts.items() if post.author == self.name]
        return [post_id for post_id, post in own[-50:] if post.is_settled_draft or not drafts]

    async def _write(self) -> bool:
        title = self._unique("Post")
        body = {"title": title, "body": "What is written stays."}
        answer = await self.client.ask("POST", "/posts", 201, token=self.family.access_token, json=body)
        if answer is not None:
            self._ledger.posts[answer.json()["id"]] = WrittenPost(self.name, {title})
        return answer is not None

    async def _publish(self) -> bool:
        drafts = self._own(drafts=True)
        if not drafts:
            return await self._write()
        post_id = self._chance.choice(drafts)
        post = self._ledger.posts[post_id]
        post.maybe_published = True
        answer = await self.client.ask(
            "POST", "/posts/{id}/publish", 202, token=self.family.access_token, path={"id": post_id}
        )
        if answer is not None:
            post.job_ids.add(answer.json()["job_id"])
        return answer is not None

    async def _comment(self) -> bool:
        body = {"body": self._unique("Comment")}
        answer = await self.client.ask(
            "POST", "/posts/{id}/comments", 201, token=self.family.access_token, path={"id": self.hot_post}, json=body
        )
        if answer is not None:
            self._ledger.comments[answer.json()["id"]] = self.hot_post
        return answer is not None

    async def _read(self) -> bool:
        readable = [id_ for id_ in self._own(drafts=False) if not self._ledger.posts[id_].maybe_deleted]
        if not readable:
            return await self._write()
        post_id = self._chance.choice(readable)
        answer = await self.client.ask("GET", "/posts/{id}", 200, token=self.family.access_token, path={"id": post_id})
        if answer is not None and answer.json()["title"] not in self._ledger.posts[post_id].titles:
            self._account.violated(f"post {post_id} has the title {answer.json()['title']!r}")
        return answer is not None

    async def _change(self) -> bool:
        drafts = self._own(drafts=True)
        if not drafts:
            return await self._write()
        post_id, title = self._chance.choice(drafts), self._unique("Changed")
        post = self._ledger.posts[post_id]
        post.titles.add(title)
        answer = await self.client.ask(
            "PATCH", "/posts/{id}", 200, token=self.family.access_token, path={"id": post_id}, json={"title": title}
        )
        if answer is not None:
            post.titles = {title}
        return answer is not None

    async def _delete(self) -> bool:
        drafts = self._own(drafts=True)
        if not drafts:
            return await self._write()
        post_id = self._chance.choice(drafts)
        post = self._ledger.posts[post_id]
        post.maybe_deleted = True
        answer = await self.client.ask(
            "DELETE", "/posts/{id}", 204, token=self.family.access_token, path={"id": post_id}
        )
        post.deleted = answer is not None
        return post.deleted

    async def _log_in(self) -> bool:
        form = {"username": self.email, "password": PASSWORD}
        answer = await self.client.ask("POST", "/auth/login", 200, data=form)
        if answer is None:
            return False
        tokens = answer.json()
        family = Family(_session_of(tokens["access_token"]), tokens["access_token"], tokens["refresh_token"])
        self._families = [*self._families, family][-_MOST_FAMILIES:]
        self._ledger.families[family.session_id] = family
        return True

    async def _log_out(self) -> bool:
        if len(self._families) < 2:
            return await self._log_in()
        family = self._families.pop(0)
        # What holds after it is not known until it is acknowledged.
        del self._ledger.families[family.session_id]
        answer = await self.client.ask("POST", "/auth/logout", 204, token=family.access_token)
        if answer is not None:
            self._ledger.ended[family.access_token] = self._account.seconds
        return answer is not None

    async def _register(self) -> bool:
        address = f"{self._unique('new').replace(' ', '-')}@example.com"
        body = {"email": address, "password": PASSWORD, "name": "Somebody"}
        answer = await self.client.ask("POST", "/auth/register", 202, json=body)
        if answer is not None:
            self._ledger.registered.add(address)
        return answer is not None

    async def _refresh(self) -> bool:
        """With the newest token, again and again until there is an answer, as a client does."""
        family = self._chance.choice(self._families)
        while True:
            asked_at = self._account.seconds
            family.lost += 1
            answer = await self.client.ask(
                "POST", "/auth/refresh", 200, 401, json={"refresh_token": family.refresh_token}
            )
            if answer is None:
                if family.first_lost_at is None:
                    family.first_lost_at = asked_at
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if answer.status_code == 401:
                return self._was_refused(family, answer.json()["code"])
            family.lost -= 1
            family.rotations += 1
            family.first_lost_at = None
            family.access_token = answer.json()["access_token"]
            family.refresh_token = answer.json()["refresh_token"]
            return True

    def _was_refused(self, family: Family, code: str) -> bool:
        since = None if family.first_lost_at is None else self._account.seconds - family.first_lost_at
        if code != "TOKEN_REUSED" or since is None or since < GRACE_SECONDS:
            self._account.violated(f"a refresh was refused with {code}, {since} seconds after one that was lost")
        # The rule: who comes back later than that is taken for a thief, and logs in again.
        self._account.note(f"{self.name} came back after the grace and has lost a session")
        self._families.remove(family)
        self._ledger.families.pop(family.session_id, None)
        return True


def _session_of(access_token: str) -> str:
    payload = access_token.split(".")[1]
    return str(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sid"])
