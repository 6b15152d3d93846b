"""Publishing a post, by a job: the post, and the mails that tell of it, in one transaction."""

from fastapi import APIRouter
from hardpoint.db import Session
from hardpoint.errors import Forbidden, InvalidToken, NotFound, ValidationFailed, responses
from hardpoint.jobs import GiveUp
from hardpoint.jobs.durable import Durable
from hardpoint.routing import StrictCompiledRoute

from hardpoint.service.jobs.registry import jobs
from hardpoint.service.jobs.schemas import QueuedJob
from hardpoint.service.live.announcing import announce  # new: realtime
from hardpoint.service.mail.notifier import Mails
from hardpoint.service.posts.dependencies import EditablePost
from hardpoint.service.posts.models import Post, PostStatus
from hardpoint.service.posts.schemas import PostOut  # new: realtime
from hardpoint.service.posts.service import Posts

__all__ = ["publish_post", "router"]


@jobs.job(exactly_once=True)
async def publish_post(
    post_id: int,
    session: Session,
    mails: Mails,
    durable: Durable,  # new: realtime
) -> None:
    """Mark a post as published, and tell of it.

    One transaction with the engine's note that it is done: however often a process dies, nobody gets the mail twice.
    """
    post = await session.get(Post, post_id, with_for_update=True)
    if post is None:
        raise GiveUp("The post was deleted")
    if post.status == PostStatus.PUBLISHED.value:
        return
    await Posts(session).publish(post, mails)
    # new: if realtime
    data = PostOut.model_validate(post).model_dump(mode="json")
    await durable.enqueue(announce, session=session, channel="posts", data=data, key=f"published:{post.id}")
    # new: end if


router = APIRouter(
    prefix="/posts",
    tags=["posts"],
    route_class=StrictCompiledRoute,
    responses=responses(InvalidToken, ValidationFailed),
)


@router.post("/{post_id}/publish", status_code=202, summary="Publish a post", responses=responses(Forbidden, NotFound))
async def publish(post: EditablePost, durable: Durable, session: Session) -> QueuedJob:
    """For its author, editors and admins: a job publishes it and tells its readers."""
    return QueuedJob(job_id=await durable.enqueue(publish_post, session=session, post_id=post.id))
