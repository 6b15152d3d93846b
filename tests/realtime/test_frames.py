"""Frames as the network carries them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from hardpoint.realtime.frames import Frames


def read(wire: bytes) -> list[Frame]:
    """As the client of a well-known library reads it."""
    reader = StreamReader()
    reader.feed_data(wire)
    frames: list[Frame] = []
    while reader.buffer:
        parser = Frame.parse(reader.read_exact, mask=False)
        with pytest.raises(StopIteration) as done:
            next(parser)
        frames.append(done.value.value)
    return frames


@given(st.lists(st.text(max_size=400), min_size=1, max_size=5))
def test_what_is_written_is_read(texts: list[str]) -> None:
    wire = Frames(range(len(texts)), texts).wire
    frames = read(wire)
    assert [bytes(frame.data).decode() for frame in frames] == texts
    assert all(frame.fin and frame.opcode is Opcode.TEXT for frame in frames)
    assert wire == b"".join(Frame(Opcode.TEXT, text.encode()).serialize(mask=False) for text in texts)


@pytest.mark.parametrize("length", [0, 125, 126, 127, 65_535, 65_536, 200_000])
def test_lengths_at_the_limits_of_their_forms(length: int) -> None:
    assert Frames.one("x" * length).wire == Frame(Opcode.TEXT, b"x" * length).serialize(mask=False)


def test_those_after_an_offset() -> None:
    frames = Frames([3, 4, 5], ["c", "d", "e"])
    assert (frames.first, frames.last) == (3, 5)
    assert frames.after(3).texts == ["d", "e"]
    assert frames.after(4).offsets == [5]
    assert frames.after(2).texts == frames.texts
