"""Small messages gathered into records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.coalescing import Coalescer
from server.dialect import Audio
from streaming.call import AudioFormat, Encoding
from streaming.records import ALL_CHANNELS, UNTIMED

MULAW = AudioFormat(Encoding.MULAW, 8000, 2)


def add(coalescer: Coalescer, audio: Audio, now: float = 0.0) -> list[Audio]:
    return coalescer.add(audio, coalescer.samples_of(audio), now)


def test_a_piece_is_given_once_it_is_long_enough() -> None:
    coalescer = Coalescer(MULAW, samples=320)
    assert add(coalescer, Audio(0, UNTIMED, b"a" * 160)) == []
    assert add(coalescer, Audio(1, UNTIMED, b"b" * 160)) == []
    assert add(coalescer, Audio(0, UNTIMED, b"c" * 160)) == [Audio(0, UNTIMED, b"a" * 160 + b"c" * 160)]


def test_a_gap_on_the_media_clock_is_never_closed() -> None:
    """Gathering must not move audio in time."""
    coalescer = Coalescer(MULAW, samples=1000)
    assert add(coalescer, Audio(0, 0, b"a" * 160)) == []
    assert add(coalescer, Audio(0, 160, b"b" * 160)) == []
    assert add(coalescer, Audio(0, 400, b"c" * 160)) == [Audio(0, 0, b"a" * 160 + b"b" * 160)]
    assert add(coalescer, Audio(0, UNTIMED, b"d" * 160)) == []
    assert coalescer.flush(1.0) == [Audio(0, 400, b"c" * 160 + b"d" * 160)]
    assert add(coalescer, Audio(0, UNTIMED, b"e")) == []
    assert add(coalescer, Audio(0, 9000, b"f")) == [Audio(0, UNTIMED, b"e")]


def test_only_what_began_long_enough_ago_is_flushed() -> None:
    coalescer = Coalescer(MULAW, samples=1000)
    assert coalescer.flush(1.0) == []
    add(coalescer, Audio(0, UNTIMED, b"a"), now=1.0)
    add(coalescer, Audio(1, UNTIMED, b"b"), now=2.0)
    assert coalescer.flush(1.5) == [Audio(0, UNTIMED, b"a")]


def test_samples_are_counted_per_channel() -> None:
    coalescer = Coalescer(AudioFormat(Encoding.L16, 16000, 2), samples=1000)
    assert coalescer.samples_of(Audio(ALL_CHANNELS, UNTIMED, bytes(40))) == 10
    assert coalescer.samples_of(Audio(1, UNTIMED, bytes(40))) == 20


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=30))
def test_nothing_is_lost_or_reordered(payloads: list[bytes]) -> None:
    coalescer = Coalescer(AudioFormat(Encoding.MULAW, 8000), samples=160)
    given_out = [piece for payload in payloads for piece in add(coalescer, Audio(0, UNTIMED, payload))]
    given_out += coalescer.flush(1.0)
    assert b"".join(piece.payload for piece in given_out) == b"".join(payloads)
