"""What the OpenAPI document says of the service as a whole."""

from typing import Final

from hardpoint.errors import BadRequest, GatewayTimeout, InternalError, RateLimited, ServiceUnavailable
from hardpoint.openapi import Tag

__all__ = ["DESCRIPTION", "EVERYWHERE", "PAGES", "SUMMARY", "TAGS", "TITLE"]

TITLE: Final = "hardpoint"
SUMMARY: Final = "The reference service of hardpoint: the kit used on itself."
DESCRIPTION: Final = """
Users, posts and comments.

Every error has one shape, whatever it comes from: `detail` for a human, `code` for a program, the request's id, and
for a 422 what is wrong with which field. A client that accepts `application/problem+json` gets the same facts as
RFC 9457 says them.
""".strip()

# Two kinds of credentials at once are refused wherever one is read.
EVERYWHERE: Final = (
    (BadRequest, "INVALID_REQUEST"),
    RateLimited,
    InternalError,
    ServiceUnavailable,
    GatewayTimeout,
)

TAGS: Final = (
    Tag(name="auth", description="Accounts, logins, tokens and sessions."),
    Tag(name="users", description="Oneself; for admins, everybody."),
    Tag(name="posts", description="Drafts, and what has been published."),
    Tag(name="comments", description="What readers say about a post."),
    Tag(name="jobs", description="What goes on after an answer of 202."),  # new: jobs
    # new: if realtime
    Tag(name="realtime", description="Events as they happen; `/asyncapi.json` describes the WebSocket `/ws`."),
    # new: end if
    Tag(name="api keys", description="Keys for programs."),  # new: api_keys
    Tag(name="operations", description="For whoever runs the service."),
    Tag(name="health", description="For load balancers and orchestrators."),
)

# What a browser may open in development, for whoever starts the service.
PAGES: Final = {
    "API docs": "/docs",
    "live page": "/live",  # new: realtime
}
