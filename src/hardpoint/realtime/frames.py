"""Text frames, made once for all who receive them."""

import struct
from collections.abc import Sequence
from typing import Final

__all__ = ["WIRE", "Frames"]

WIRE: Final = "hardpoint.frames"
"""The ASGI extension of a server that takes frames as the bytes that the network carries, several at once.

`scope["extensions"]["hardpoint.frames"]["write"]` writes them within the call, past every middleware, and says whether
it could without waiting; a `websocket.send` message that has them under this key waits. `hardpoint.realtime.uvicorn`
has it; other servers are sent one text at a time.
"""

_TEXT: Final = 0x81
_SHORT: Final = 126
_MEDIUM: Final = 65_536


class Frames:
    """Frames of one channel that follow each other.

    Args:
        offsets: Where each stands in the channel, in order; one or more.
        texts: The texts.
        is_reset: Whether the channel goes on from here, whatever was before.

    Attributes:
        first: The offset of the first.
        last: The offset of the last.
    """

    __slots__ = ("_wire", "first", "is_reset", "last", "offsets", "texts")

    def __init__(self, offsets: Sequence[int], texts: Sequence[str], *, is_reset: bool = False) -> None:
        self.first = offsets[0]
        self.last = offsets[-1]
        self.offsets = offsets
        self.texts = texts
        self.is_reset = is_reset
        self._wire: bytes | None = None

    @classmethod
    def one(cls, text: str, offset: int = 0, *, is_reset: bool = False) -> "Frames":
        """A single frame."""
        return cls((offset,), (text,), is_reset=is_reset)

    @property
    def wire(self) -> bytes:
        """All of them as a server sends them (RFC 6455, section 5.2): one write instead of a write for each."""
        if self._wire is None:
            self._wire = b"".join(map(_on_the_wire, self.texts))
        return self._wire

    def after(self, offset: int) -> "Frames":
        """Those that come after `offset`, which at least the last does."""
        start = next(place for place, known in enumerate(self.offsets) if known > offset)
        return Frames(self.offsets[start:], self.texts[start:])


def _on_the_wire(text: str) -> bytes:
    payload = text.encode()
    length = len(payload)
    if length < _SHORT:
        return bytes((_TEXT, length)) + payload
    if length < _MEDIUM:
        return struct.pack("!BBH", _TEXT, 126, length) + payload
    return struct.pack("!BBQ", _TEXT, 127, length) + payload
