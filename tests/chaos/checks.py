"""What must hold after each fault: at once, or within a bound."""

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx2

from chaos.account import Account
from chaos.follower import Follower
from chaos.installation import Installation
from chaos.ledger import Ledger

# A mail is leased for two minutes by who hands it over; who dies meanwhile leaves it to the next after that.
MAIL_SECONDS = 180
_CATCH_UP_SECONDS = 20
_DONE = "SUCCESS"
_DELAY_SECONDS = 7
"""How long an access token that was ended elsewhere may be taken: the cache's five seconds, when nobody was told."""


@dataclass(frozen=True)
class Promised:
    """What had been acknowledged at a moment, and will have happened soon after.

    Attributes:
        at: The moment.
        jobs: The post of each job.
        published: The posts that will be published.
        comments: The comments of which their channel will tell.
    """

    at: float
    jobs: dict[str, int]
    published: set[int]
    comments: set[int]


class Checks:
    """Compares the ledger with the database, the mailbox and the sockets.

    Args:
        here: What runs.
        ledger: What was acknowledged.
        followers: The sockets.
        account: Told of what is wrong.
        client: For asking the parts themselves.
    """

    def __init__(
        self,
        here: Installation,
        ledger: Ledger,
        followers: list[Follower],
        account: Account,
        client: httpx2.AsyncClient,
    ) -> None:
        self._here = here
        self._ledger = ledger
        self._followers = followers
        self._account = account
        self._client = client

    # What needs a while

    def promised(self) -> Promised:
        """What has been acknowledged by now."""
        return Promised(self._account.seconds, self._ledger.jobs, self._ledger.published, set(self._ledger.comments))

    async def lagging(self, promised: Promised) -> list[str]:
        """What has not come back yet from a fault that was over when that was promised."""
        found = [name for name, part in self._here.parts.items() if not await part.is_ready(self._client)]
        found += [f"{name} has got nothing" for name, at in self._ledger.last_success.items() if at <= promised.at]
        found += await self._unfinished(promised.jobs)
        for follower in self._followers:
            found += self._missing(follower, promised)
        return found

    async def _unfinished(self, jobs: dict[str, int]) -> list[str]:
        try:
            connection = await self._here.postgres.connect()
        except (OSError, asyncpg.PostgresError) as error:
            return [f"PostgreSQL: {error!r}"]
        try:
            rows = await connection.fetch(
                "SELECT workflow_uuid AS id, status FROM dbos.workflow_status WHERE workflow_uuid = ANY($1)", list(jobs)
            )
        finally:
            await connection.close()
        statuses = {row["id"]: row["status"] for row in rows}
        unfinished = [job_id for job_id in jobs if statuses.get(job_id) != _DONE]
        return [f"job {job_id} of post {jobs[job_id]} is {statuses.get(job_id)}" for job_id in unfinished]

    def _missing(self, follower: Follower, promised: Promised) -> list[str]:
        if not follower.is_connected:
            return [f"{follower.name} is not connected"]
        told = []
        for channel, place in follower.places.items():
            wanted = promised.published if channel == "posts" else promised.comments
            if lost := wanted - place.ids:
                told.append(f"{follower.name} has not got {sorted(lost)[:5]} of {channel}")
        return told

    # What holds at any time

    async def run(self) -> None:
        """Everything that was acknowledged is there, once; while nobody asks for more."""
        connection = await self._here.postgres.connect()
        try:
            await self._check_sockets(connection)
            await self._check_posts(connection)
            await self._check_jobs(connection)
            await self._check_comments(connection)
            await self._check_families(connection)
            await self._check_mails(connection, before_seconds=MAIL_SECONDS)
        finally:
            await connection.close()
        await self._check_ended()
        for part in self._here.parts.values():
            part.read_log()

    async def waiting_mails(self, *, leased: bool) -> int:
        """How many mails are not yet handed over; those that somebody has leased, perhaps before they died, or not."""
        connection = await self._here.postgres.connect()
        try:
            return int(
                await connection.fetchval("SELECT count(*) FROM queued_mails WHERE due_at <= now() OR $1", leased)
            )
        finally:
            await connection.close()

    async def _check_sockets(self, connection: Any) -> None:
        """Everybody has heard of everything that is there, also of what was never acknowledged."""
        posts = {row["id"] for row in await connection.fetch("SELECT id FROM posts WHERE status = 'published'")}
        comments = {row["id"] for row in await connection.fetch("SELECT id FROM comments")}
        behind = ["nobody has looked"]
        for _ in range(round(_CATCH_UP_SECONDS / 0.1)):
            behind = [
                f"{follower.name} has not got {sorted(wanted - place.ids)[:5]} of {channel}"
                for follower in self._followers
                for channel, place in follower.places.items()
                if (wanted := posts if channel == "posts" else comments) - place.ids
            ]
            if not behind:
                return
            await asyncio.sleep(0.1)
        for told in behind:
            self._account.violated(told)

    async def _check_posts(self, connection: Any) -> None:
        rows = {row["id"]: row for row in await connection.fetch("SELECT id, title, status FROM posts")}
        for post_id, post in self._ledger.posts.items():
            row = rows.get(post_id)
            if post.deleted:
                if row is not None:
                    self._account.violated(f"post {post_id} was deleted and is there")
            elif row is None:
                if not post.maybe_deleted:
                    self._account.violated(f"post {post_id} was acknowledged and is lost")
            elif row["title"] not in post.titles:
                self._account.violated(f"post {post_id} is {row['title']!r}, and was acknowledged as {post.titles}")
            elif row["status"] == "published" and not post.job_ids and not post.maybe_published:
                self._account.violated(f"post {post_id} is published, and nobody asked for that")
        titles = [row["title"] for row in rows.values()]
        if repeated := {title for title in titles if titles.count(title) > 1}:
            self._account.violated(f"written twice: {sorted(repeated)[:5]}")
        often = await connection.fetch(
            "SELECT post_id, count(*) AS times FROM witnessed_publications GROUP BY post_id HAVING count(*) > 1"
        )
        for row in often:
            self._account.violated(f"post {row['post_id']} was published {row['times']} times")

    async def _check_jobs(self, connection: Any) -> None:
        failed = await connection.fetch(
            "SELECT workflow_uuid AS id, status, attributes::text AS attributes FROM dbos.workflow_status "
            "WHERE status NOT IN ('ENQUEUED', 'DELAYED', 'PENDING', 'SUCCESS')"
        )
        for row in failed:
            self._account.violated(f"job {row['id']} is {row['status']}: {row['attributes']}")

    async def _check_comments(self, connection: Any) -> None:
        rows = await connection.fetch("SELECT id, body FROM comments")
        if lost := set(self._ledger.comments) - {row["id"] for row in rows}:
            self._account.violated(f"comments {sorted(lost)} were acknowledged and are lost")
        if len(rows) != len({row["body"] for row in rows}):
            self._account.violated("a comment was written twice")

    async def _check_families(self, connection: Any) -> None:
        families = self._ledger.families
        rows = await connection.fetch(
            "SELECT id, generation, revoked_at FROM auth_sessions WHERE id = ANY($1)", list(families)
        )
        found = {row["id"]: row for row in rows}
        for session_id, family in families.items():
            row = found.get(session_id)
            if row is None or row["revoked_at"] is not None:
                self._account.violated(f"session {session_id} has ended, and nobody ended it")
            elif not family.rotations <= row["generation"] <= family.rotations + family.lost:
                self._account.violated(f"session {session_id} is at {row['generation']}: {family}")

    async def _check_mails(self, connection: Any, *, before_seconds: float) -> None:
        twice = await connection.fetch(
            "SELECT recipient, body, count(*) FROM witnessed_mails WHERE subject = 'A new post' "
            "GROUP BY recipient, body HAVING count(*) > 1"
        )
        for row in twice:
            self._account.violated(f"a mail was queued twice: {dict(row)}")
        queued = await connection.fetch(
            "SELECT recipient, subject, body FROM witnessed_mails WHERE due < now() - make_interval(secs => $1)",
            float(before_seconds),
        )
        arrived = {(mail.to, mail.subject, mail.text.strip()) for mail in tuple(self._here.mailbox.mails)}
        lost = [row for row in queued if (row["recipient"], row["subject"], row["body"].strip()) not in arrived]
        for row in lost[:5]:
            self._account.violated(f"a mail did not arrive in {before_seconds} s: {dict(row)}")
        welcomed = {row["recipient"] for row in await connection.fetch("SELECT recipient FROM witnessed_mails")}
        if lost_people := self._ledger.registered - welcomed:
            self._account.violated(f"nobody was written to: {sorted(lost_people)}")

    async def _check_ended(self) -> None:
        due = [token for token, at in self._ledger.ended.items() if self._account.seconds - at > _DELAY_SECONDS]
        for token in due[-3:]:
            for name, url in self._here.instance_urls.items():
                headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "127.8.0.1"}
                answer = await self._client.get(f"{url}/users/me", headers=headers)
                if answer.status_code not in {401, 503}:
                    self._account.violated(f"{name}: a session that was logged out got {answer.status_code}")
