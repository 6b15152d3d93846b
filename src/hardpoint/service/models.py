"""Every table, for whoever needs the whole schema."""

from hardpoint.service.base import Base
from hardpoint.service.comments.models import Comment
from hardpoint.service.mail.models import QueuedMail
from hardpoint.service.posts.models import Post
from hardpoint.service.users.models import (
    ApiKey,  # new: api_keys
    AuthSession,
    OneTimeToken,
    User,
)

__all__ = [
    "ApiKey",  # new: api_keys
    "AuthSession",
    "Base",
    "Comment",
    "OneTimeToken",
    "Post",
    "QueuedMail",
    "User",
]
