"""Publishing a post: the post, and the mails that tell of it, in one transaction."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import select
from starlette.requests import HTTPConnection

from hardpoint.clock import utc_datetime, wall_clock
from hardpoint.db import Session
from hardpoint.jobs import GiveUp
from hardpoint.jobs.durable import Durable
from hardpoint.service.jobs.registry import jobs
from hardpoint.service.live.announcing import announce
from hardpoint.service.mail.notifier import MailNotifier
from hardpoint.service.posts.models import Post, PostStatus
from hardpoint.service.posts.schemas import PostOut
from hardpoint.service.users.models import User

__all__ = ["publish_post"]


async def notifier(connection: HTTPConnection) -> MailNotifier:
    """What writes the mails."""
    found: MailNotifier = connection.state.notifier
    return found


@jobs.job(exactly_once=True)
async def publish_post(
    post_id: int, session: Session, durable: Durable, mails: Annotated[MailNotifier, Depends(notifier)]
) -> None:
    """Mark a post as published, tell the channel, and write to everybody with a proven address but its author.

    One transaction with the engine's note that it is done: however often a process dies, nobody gets the mail twice.
    """
    post = await session.get(Post, post_id, with_for_update=True)
    if post is None:
        raise GiveUp("The post was deleted")
    if post.status == PostStatus.PUBLISHED.value:
        return
    post.status = PostStatus.PUBLISHED.value
    post.published_at = utc_datetime(wall_clock())
    data = PostOut.model_validate(post).model_dump(mode="json")
    await durable.enqueue(announce, session=session, channel="posts", data=data, key=f"published:{post.id}")
    readers = select(User).where(User.is_active, User.email_verified, User.id != post.author_id)
    for reader in await session.scalars(readers):
        await mails.post_published(session, reader, post_id=post.id, title=post.title)
