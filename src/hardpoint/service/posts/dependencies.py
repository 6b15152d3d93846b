"""Posts as dependencies: one that the reader sees, one that they may change, one that they may delete."""

from typing import Annotated

from fastapi import Depends
from hardpoint.auth import require_owner
from hardpoint.db import Session

from hardpoint.service.access import OptionalUser
from hardpoint.service.base import Id
from hardpoint.service.posts.models import Post
from hardpoint.service.posts.service import STAFF, Posts

__all__ = ["DeletablePost", "EditablePost", "PostsService", "VisiblePost"]


async def posts(session: Session) -> Posts:
    """The service of this request."""
    return Posts(session)


PostsService = Annotated[Posts, Depends(posts)]


async def visible_post(post_id: Id, service: PostsService, reader: OptionalUser) -> Post:
    """The post in the path, when the reader may see it."""
    return await service.get(post_id, reader)


def _author_id(post: Post) -> int:
    return post.author_id


# What can be seen is refused with 403: that it exists is known. What cannot is a 404 before that, by `visible_post`.
VisiblePost = Annotated[Post, Depends(visible_post)]
EditablePost = Annotated[Post, Depends(require_owner(visible_post, owner_id=_author_id, roles=STAFF, hide=False))]
DeletablePost = Annotated[Post, Depends(require_owner(visible_post, owner_id=_author_id, roles={"admin"}, hide=False))]
