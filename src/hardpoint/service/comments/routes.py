"""The routes of comments."""

from typing import Annotated

from fastapi import APIRouter, Depends
from hardpoint.auth import OPTIONAL_SECURITY
from hardpoint.db import Page, PageParams, Session
from hardpoint.errors import Forbidden, InvalidToken, NotFound, ValidationFailed, responses
from hardpoint.routing import StrictCompiledRoute

from hardpoint.service.access import CurrentUser
from hardpoint.service.comments.models import Comment
from hardpoint.service.comments.schemas import CommentOut, NewComment
from hardpoint.service.comments.service import Comments
from hardpoint.service.live.announcing import Announce  # new: realtime
from hardpoint.service.posts.dependencies import VisiblePost

__all__ = ["router"]


async def comments(session: Session) -> Comments:
    """The service of this request."""
    return Comments(session)


CommentsService = Annotated[Comments, Depends(comments)]

router = APIRouter(
    prefix="/posts/{post_id}/comments",
    tags=["comments"],
    route_class=StrictCompiledRoute,
    responses=responses(InvalidToken, NotFound, ValidationFailed),
)


@router.post("", status_code=201, summary="Comment on a post", responses=responses(Forbidden))
async def create_comment(
    new: NewComment,
    author: CurrentUser,
    post: VisiblePost,
    service: CommentsService,
    announce: Announce,  # new: realtime
) -> CommentOut:
    """On what one may see."""
    comment = await service.add(post, author, new)
    await announce(f"post:{post.id}", CommentOut.model_validate(comment), f"comment:{comment.id}")  # new: realtime
    return CommentOut.model_validate(comment)


@router.get("", summary="A post's comments", openapi_extra=OPTIONAL_SECURITY)
async def list_comments(
    post: VisiblePost, service: CommentsService, session: Session, page: PageParams
) -> Page[CommentOut]:
    """Newest first."""
    order = (Comment.created_at.desc(), Comment.id.desc())
    return await page.of(CommentOut, session, service.of(post), order_by=order)
