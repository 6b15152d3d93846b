"""Publishing a post: the post, and the mails that tell of it, in the transaction of the request."""

from fastapi import APIRouter
from hardpoint.db import Session
from hardpoint.errors import Forbidden, InvalidToken, NotFound, ValidationFailed, responses
from hardpoint.routing import StrictCompiledRoute

from hardpoint.service.live.announcing import Announce  # new: realtime
from hardpoint.service.mail.notifier import Mails
from hardpoint.service.posts.dependencies import EditablePost, PostsService
from hardpoint.service.posts.models import Post, PostStatus
from hardpoint.service.posts.schemas import PostOut

__all__ = ["router"]

router = APIRouter(
    prefix="/posts",
    tags=["posts"],
    route_class=StrictCompiledRoute,
    responses=responses(InvalidToken, ValidationFailed),
)


@router.post("/{post_id}/publish", summary="Publish a post", responses=responses(Forbidden, NotFound))
async def publish(
    visible: EditablePost,
    service: PostsService,
    session: Session,
    mails: Mails,
    announce: Announce,  # new: realtime
) -> PostOut:
    """For its author, editors and admins; its readers are told."""
    # Of two who publish at the same moment, one waits here and then finds it done.
    post = await session.get(Post, visible.id, with_for_update=True, populate_existing=True)
    if post is None:
        raise NotFound
    if post.status != PostStatus.PUBLISHED.value:
        await service.publish(post, mails)
        await announce("posts", PostOut.model_validate(post), f"published:{post.id}")  # new: realtime
    return PostOut.model_validate(post)
