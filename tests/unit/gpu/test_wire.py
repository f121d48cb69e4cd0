"""The messages between a shard and its devices survive the way, in any pieces."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu.batcher import Load, Why
from gpu.cost import Cost, Timing
from gpu.memory import Memory
from gpu.spec import DeviceSpec
from gpu.wire import (
    BUFFER_BYTES,
    Answered,
    Began,
    Cancel,
    Failed,
    Fault,
    FaultKind,
    FrameProtocol,
    Leaving,
    LoadReport,
    Message,
    Ready,
    SetRung,
    Start,
    Submit,
    Undone,
    decode,
    encode,
)
from streaming.call import Encoding
from streaming.decoding import Audio, DecodeJob, Hypothesis, Kind, Window, Word
from streaming.ladder import Rung

SPEC = DeviceSpec(
    name="gpu-0",
    models=("turbo", "tiny"),
    options={"threads": 2},
    decodes=(("turbo", 5), ("tiny", 1)),
    profile=(Cost("turbo", "300+0", 0.02, 0.001),),
)
TIMING = Timing("tiny", 1, 4, 6.0, 0.25)
HEARD = Hypothesis(
    (Word("héllo", 0.1, 0.5, 0.9), Word("there.", 0.5, 0.8, 0.7)),
    "en",
    1.0,
    0.01,
    "tiny",
    True,
    False,
    0.2,
    0.3,
    (7, 8),
)
PLAIN: tuple[Message, ...] = (
    Start(SPEC, Rung("tiny", "turbo")),
    Start(SPEC, Rung("tiny", "turbo"), (TIMING,)),
    Cancel(7),
    SetRung(Rung("tiny", "tiny")),
    Ready(1.5),
    Ready(1.5, (TIMING,)),
    Began((1, 2)),
    Answered("tiny", 5, 0.3, 0.25, (1, 2), (HEARD, replace(HEARD, words=()))),
    Undone(3, Why.STALE),
    Failed(4, "too long"),
    LoadReport(Load(1, 2, 1, 0.1, 0.2), drifting=True),
    LoadReport(Load(0, 0, 0, 0.0, 0.0), drifting=False, memory=Memory(1200, 81920)),
    Fault(FaultKind.STUCK, "took long", (1, 2), fatal=True),
    Leaving(),
)


def submit(frames: int = 300) -> Submit:
    features = np.random.default_rng(1).normal(size=(80, frames)).astype(np.float32)
    window = Window(features, Kind.FINAL, None, "before", ("Trunkline", "naïve"), "tiny", 5, (7, 8))
    return Submit(DecodeJob(1, "call", 1, "tenant", window, 1.25, 2.5), alone=True)


def cross(frame: bytes, pieces: list[int]) -> list[Message]:
    """Receive a frame in pieces of these sizes, again and again."""
    heard: list[Message] = []
    end = FrameProtocol(heard.append, lambda: None)
    at = 0
    while at < len(frame):
        size = pieces[len(heard) % len(pieces)]
        buffer = end.get_buffer(-1)
        piece = frame[at : at + min(size, len(buffer))]
        buffer[: len(piece)] = piece
        end.buffer_updated(len(piece))
        at += len(piece)
    return heard


@pytest.mark.parametrize("message", PLAIN, ids=lambda message: type(message).__name__)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    """Both ends speak of the same thing."""
    assert cross(encode(message), [1 << 16]) == [message]


def test_a_window_keeps_every_bit_of_its_features() -> None:
    """The text must not depend on where it is decoded."""
    sent = submit()
    (heard,) = cross(encode(sent), [1 << 16])

    assert isinstance(heard, Submit)
    assert np.array_equal(heard.job.window.features, sent.job.window.features)
    assert heard.job.window.features.dtype == np.float32
    blank = np.zeros((80, 0), np.float32)
    assert replace(heard.job, window=replace(heard.job.window, sound=blank)) == replace(
        sent.job, window=replace(sent.job.window, sound=blank)
    )


def test_a_window_that_carries_audio_crosses_as_the_bytes_of_the_call() -> None:
    """Eight bytes a millisecond of a telephone, where features have 32."""
    audio = Audio(bytes(range(256)) * 94, Encoding.MULAW, 8_000, 298, 2)
    sent = submit()
    sent = replace(sent, job=replace(sent.job, window=replace(sent.job.window, sound=audio)))
    frame = encode(sent)

    assert cross(frame, [1 << 16]) == [sent]
    assert len(frame) < len(audio.payload) + 600


def test_features_need_not_lie_in_one_piece() -> None:
    """A window is often cut out of a longer stretch."""
    sent = submit(600)
    cut = replace(sent, job=replace(sent.job, window=replace(sent.job.window, sound=sent.job.window.features[:, ::2])))
    (heard,) = cross(encode(cut), [1 << 16])

    assert isinstance(heard, Submit)
    assert np.array_equal(heard.job.window.features, cut.job.window.features)


@given(st.lists(st.sampled_from([1, 7, 100, 5000, 1 << 20]), min_size=1, max_size=5))
def test_messages_may_come_in_any_pieces(pieces: list[int]) -> None:
    """A stream has no edges."""
    messages = (*PLAIN, *PLAIN)

    assert tuple(cross(b"".join(map(encode, messages)), pieces)) == messages


def test_a_message_larger_than_the_buffer_makes_it_grow() -> None:
    """Thirty seconds of 128 bands are more than a buffer that fits most windows."""
    sent = submit(4 * BUFFER_BYTES // 320)
    heard = cross(encode(Leaving()) + encode(sent) + encode(Leaving()), [1 << 18])

    assert [type(message) for message in heard] == [Leaving, Submit, Leaving]
    assert isinstance(heard[1], Submit)
    assert np.array_equal(heard[1].job.window.features, sent.job.window.features)


def test_an_unknown_message_is_refused_by_name() -> None:
    """Both ends are one version: this is a mistake of ours."""
    with pytest.raises(ValueError, match="Surprise"):
        decode(b'{"type":"Surprise"}', b"")


class Wire(asyncio.WriteTransport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.state = "open"

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"


def test_an_end_writes_until_it_is_closed() -> None:
    """What is sent to somebody who is gone is lost in silence; the loss itself is told once."""
    lost: list[str] = []
    end = FrameProtocol(lambda _: None, lambda: lost.append("lost"))
    end.send(Leaving())
    end.close()
    end.abort()
    wire = Wire()
    end.connection_made(wire)
    end.send(Leaving())
    end.close()
    end.send(Leaving())
    end.connection_lost(None)

    assert wire.written == encode(Leaving())
    assert wire.state == "closed"
    assert lost == ["lost"]


def test_a_frame_of_impossible_length_cuts_the_connection() -> None:
    """Its sender is not one of ours, or went wrong; waiting for the rest would take all memory."""
    end = FrameProtocol(lambda _: None, lambda: None)
    wire = Wire()
    end.connection_made(wire)
    end.get_buffer(-1)[:8] = b"\xff" * 8
    end.buffer_updated(8)

    assert wire.state == "aborted"
