"""The routes of posts."""

from fastapi import APIRouter, Response
from hardpoint.auth import OPTIONAL_SECURITY
from hardpoint.db import Page, PageParams, Session
from hardpoint.errors import Forbidden, InvalidToken, NotFound, ValidationFailed, responses
from hardpoint.routing import StrictCompiledRoute

from hardpoint.service.access import CurrentUser, OptionalUser
from hardpoint.service.posts.dependencies import DeletablePost, EditablePost, PostsService, VisiblePost
from hardpoint.service.posts.models import Post
from hardpoint.service.posts.schemas import NewPost, PostChanges, PostOut

__all__ = ["router"]

router = APIRouter(
    prefix="/posts",
    tags=["posts"],
    route_class=StrictCompiledRoute,
    responses=responses(InvalidToken, ValidationFailed),
)


@router.get("", summary="Posts", openapi_extra=OPTIONAL_SECURITY)
async def list_posts(service: PostsService, session: Session, reader: OptionalUser, page: PageParams) -> Page[PostOut]:
    """What this reader may see, newest first."""
    order = (Post.created_at.desc(), Post.id.desc())
    return await page.of(PostOut, session, service.visible_to(reader), order_by=order)


@router.get("/{post_id}", summary="A post", responses=responses(NotFound), openapi_extra=OPTIONAL_SECURITY)
async def read_post(post: VisiblePost) -> PostOut:
    """A draft is there for its author and the staff alone."""
    return PostOut.model_validate(post)


@router.post("", status_code=201, summary="Write a post", responses=responses(Forbidden))
async def create_post(new: NewPost, author: CurrentUser, service: PostsService, response: Response) -> PostOut:
    """It begins as a draft."""
    post = await service.add(author, new)
    response.headers["Location"] = f"/posts/{post.id}"
    return PostOut.model_validate(post)


@router.patch("/{post_id}", summary="Change a post", responses=responses(Forbidden, NotFound))
async def change_post(changes: PostChanges, post: EditablePost, service: PostsService) -> PostOut:
    """For its author, editors and admins."""
    return PostOut.model_validate(await service.change(post, changes))


@router.delete("/{post_id}", status_code=204, summary="Delete a post", responses=responses(Forbidden, NotFound))
async def delete_post(post: DeletablePost, service: PostsService) -> None:
    """For its author and admins; its comments go with it."""
    await service.delete(post)
