"""The channels, and who may receive them."""

from hardpoint.realtime import Channels

from hardpoint.service.access import CurrentUser
from hardpoint.service.comments.schemas import CommentOut
from hardpoint.service.posts.dependencies import VisiblePost
from hardpoint.service.posts.schemas import PostOut

__all__ = ["channels"]

channels = Channels()


@channels.channel("posts", message=PostOut)
async def posts(_reader: CurrentUser) -> None:
    """Posts as they are published."""


@channels.channel("post:{post_id}", message=CommentOut, presence=True)
async def comments(_post: VisiblePost) -> None:
    """A post's comments as they are written."""
