"""What travels over a socket, typed: the text frames that clients send, and those that the server sends."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from hardpoint.errors import ApiError

__all__ = [
    "MAX_OFFSET",
    "Authenticate",
    "Authenticated",
    "ChannelMessage",
    "ClientMessage",
    "ErrorMessage",
    "InvalidMessage",
    "Ping",
    "Pong",
    "Subscribe",
    "Subscribed",
    "Unsubscribe",
    "Unsubscribed",
    "encode",
    "encode_message",
    "parse",
]

MAX_OFFSET: Final = 2**53 - 1
"""What a JavaScript client can hold exactly."""

ChannelName = Annotated[str, Field(min_length=1, max_length=200, description="A channel's name", examples=["posts"])]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET, description="A place in a channel; later ones are greater")]


class _Frame(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Subscribe(_Frame):
    """Receive a channel's messages; with `since`, first those that came after that offset."""

    type: Literal["subscribe"]
    channel: ChannelName
    since: Offset | None = None


class Unsubscribe(_Frame):
    """Receive them no more."""

    type: Literal["unsubscribe"]
    channel: ChannelName


class Ping(_Frame):
    """Ask whether the server is there."""

    type: Literal["ping"]


class Authenticate(_Frame):
    """Say who one is: the first frame of a socket, or later, with a newer token of the same user."""

    type: Literal["auth"]
    token: Annotated[str, Field(min_length=1, max_length=8_192, repr=False, description="An access token")]


ClientMessage = Subscribe | Unsubscribe | Ping | Authenticate
"""What a client sends."""

_client_message: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])


class Subscribed(_Frame):
    """The channel's messages follow. The server sends it by itself when messages were lost: then `recovered` is false.

    `offset` is where the client stands now: after a recovery its own `since`, from which on nothing is missing;
    otherwise the channel's end.
    """

    type: Literal["subscribed"] = "subscribed"
    channel: ChannelName
    offset: Offset
    recovered: Annotated[bool, Field(description="Whether everything after `since` follows")]


class Unsubscribed(_Frame):
    """Nothing more follows; also sent when the user may no longer receive the channel."""

    type: Literal["unsubscribed"] = "unsubscribed"
    channel: ChannelName


class Pong(_Frame):
    """The server is there."""

    type: Literal["pong"] = "pong"


class Authenticated(_Frame):
    """Who the socket is of, and until when."""

    type: Literal["authenticated"] = "authenticated"
    user_id: int | str | None
    expires_at: Annotated[datetime | None, Field(description="In UTC; null: as long as the session")]


class ErrorMessage(_Frame):
    """The last frame was refused; the socket stays open."""

    type: Literal["error"] = "error"
    code: Annotated[str, Field(examples=["NOT_FOUND"])]
    detail: str


class ChannelMessage(_Frame):
    """A channel's message. For each channel they come in order."""

    type: Literal["message"] = "message"
    channel: ChannelName
    offset: Offset
    data: Any


class InvalidMessage(ApiError):
    """A frame that is none of a client's messages."""

    status = 400
    default_code = "INVALID_MESSAGE"
    default_detail = "Send a JSON text frame: subscribe, unsubscribe, ping or auth"


def parse(text: str) -> ClientMessage:
    """The message of a client's text frame; unknown members are ignored.

    Raises:
        InvalidMessage: It is not JSON, or not a message that clients send.
    """
    try:
        return _client_message.validate_json(text)
    except (ValidationError, UnicodeEncodeError):
        # The validation's own words quote what was sent, which may be a token.
        raise InvalidMessage from None


def encode(message: BaseModel) -> str:
    """A server's message as the text of its frame."""
    return message.model_dump_json()


def encode_message(channel: str, offset: int, data: bytes) -> str:
    """A `ChannelMessage` as the text of its frame, around data that is JSON already: encoded once for all receivers."""
    return f'{{"type":"message","channel":{to_json(channel).decode()},"offset":{offset},"data":{data.decode()}}}'
