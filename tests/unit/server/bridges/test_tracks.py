"""Audio in JSON: chunks in order, on the call's clock, in our byte order."""

from __future__ import annotations

import numpy as np
import pytest

from server.bridges.tracks import HELD_CHUNKS, ByteOrder, Chunk, Reorderer, Tracks, chunk_of
from server.dialect import Audio
from streaming.audio import encode
from streaming.call import AudioFormat, Encoding
from streaming.errors import BadMessage
from tests.support.audio import noise, sine

MULAW = AudioFormat(Encoding.MULAW, 8000, 2)
L16 = AudioFormat(Encoding.L16, 8000)
FRAME = b"\x01" * 160


def chunk(number: int | None, track: str = "inbound", milliseconds: int | None = None) -> Chunk:
    return Chunk(track, FRAME, number, milliseconds)


def numbers(chunks: list[Chunk]) -> list[int | None]:
    return [one.number for one in chunks]


def test_what_is_in_order_is_never_held() -> None:
    """The jitter buffer must cost nothing where it is not needed: that is nearly always."""
    reorderer = Reorderer()
    for number in range(1, 50):
        assert numbers(reorderer.push(chunk(number))) == [number]
    assert reorderer.flush() == []


def test_chunks_of_a_track_come_out_in_order_and_tracks_do_not_wait_for_each_other() -> None:
    """Order is not guaranteed by the sender; a gap on one side of the call is no business of the other."""
    reorderer = Reorderer()
    assert numbers(reorderer.push(chunk(1))) == [1]
    assert numbers(reorderer.push(chunk(3))) == []
    assert numbers(reorderer.push(chunk(1, "outbound"))) == [1]
    assert numbers(reorderer.push(chunk(2))) == [2, 3]


def test_a_missing_chunk_is_given_up_and_too_late_afterwards() -> None:
    """A lost message must not hold a call back for longer than the buffer is long."""
    reorderer = Reorderer()
    reorderer.push(chunk(1))
    held = [numbers(reorderer.push(chunk(number))) for number in range(3, 3 + HELD_CHUNKS)]
    assert held == [[]] * (HELD_CHUNKS - 1) + [[3, 4, 5, 6, 7]]
    assert numbers(reorderer.push(chunk(2))) == []
    assert numbers(reorderer.push(chunk(7))) == []
    assert reorderer.late == 2


def test_a_stream_may_count_from_zero_or_begin_in_the_middle_and_its_end_gives_out_what_is_held() -> None:
    """Nothing heard is thrown away because of how a sender counts."""
    reorderer = Reorderer()
    assert numbers(reorderer.push(chunk(0))) == [0]
    assert numbers(reorderer.push(chunk(None))) == [None]
    late = Reorderer()
    assert numbers(late.push(chunk(502))) == []
    assert numbers(late.push(chunk(501))) == []
    assert numbers(late.flush()) == [501, 502]


def positions(tracks: Tracks, *chunks: Chunk) -> list[int]:
    return [audio.position for one in chunks for audio in tracks.place(one, 1)]


def test_stamps_count_from_the_first_one_whatever_they_say() -> None:
    """Plivo documents Unix time and its SDK says time since the start; both must give a call that begins at 0."""
    tracks = Tracks(("inbound", "outbound"), 8000)
    assert positions(tracks, chunk(1, milliseconds=1_705_312_200_000)) == [0]
    assert positions(tracks, chunk(1, "outbound", 1_705_312_200_040)) == [320]
    assert positions(tracks, chunk(5, "outbound", 1_705_312_199_000)) == [0]


def test_rounded_stamps_move_nothing_and_lost_audio_does() -> None:
    """Chunk numbers tell jitter of the stamps from a hole in the audio."""
    tracks = Tracks(("inbound",), 8000)
    stamped = [(1, 5), (2, 26), (3, 44), (4, 130), (6, 105), (7, 400), (None, 421), (None, 470), (None, None)]
    chunks = [chunk(number, milliseconds=at) for number, at in stamped]
    assert positions(tracks, *chunks) == [0, 160, 320, 480, 800, 3160, 3320, 3720, 3880]


def test_other_tracks_and_empty_chunks_are_no_audio() -> None:
    """A call has the tracks its start named."""
    tracks = Tracks(("inbound",), 8000)
    assert tracks.place(chunk(1, "other"), 1) == []
    assert tracks.place(Chunk("inbound", b""), 1) == []
    assert (tracks.channel_of("inbound"), tracks.channel_of("other")) == (0, None)


def test_media_is_read_with_numbers_in_either_spelling() -> None:
    """Twilio writes numbers as text, Plivo as numbers; a clock beyond all time is no clock."""
    assert chunk_of({"payload": "/38=", "chunk": "2", "timestamp": "5", "track": "outbound"}, MULAW) == Chunk(
        "outbound", b"\xff\x7f", 2, 5
    )
    assert chunk_of({"payload": "/38=", "chunk": 2, "timestamp": 1 << 62}, MULAW) == Chunk("inbound", b"\xff\x7f", 2)


@pytest.mark.parametrize("payload", [None, 5, "?", "ab=c", "é"])
def test_what_is_not_base64_is_refused(payload: object) -> None:
    """Guessing at audio makes noise."""
    with pytest.raises(BadMessage, match="base64"):
        chunk_of({"payload": payload}, MULAW)


def test_half_samples_are_refused() -> None:
    """All samples after a lost byte would be noise."""
    with pytest.raises(BadMessage, match="whole samples"):
        chunk_of({"payload": "/38A"}, L16)


def heard(order: ByteOrder, payload: bytes, size: int = 320) -> bytes:
    pieces = [Audio(0, at // 2, payload[at : at + size]) for at in range(0, len(payload), size)]
    given = [one for piece in pieces for one in order.push(piece)]
    assert [one.position for one in given] == [piece.position for piece in pieces[: len(given)]]
    return b"".join(one.payload for one in [*given, *(order.flush() if order.encoding is None else [])])


@pytest.mark.parametrize("encoding", [Encoding.L16, Encoding.L16BE])
def test_the_byte_order_is_found_from_the_first_sound(encoding: Encoding) -> None:
    """Silence goes through, then one piece of sound decides; nothing is lost or changed but the order."""
    quiet = np.zeros(1600, np.float32)
    samples = np.concatenate([quiet, sine(440, 8000, 8000, 0.01)])
    order = ByteOrder(8000)
    assert heard(order, encode(samples, encoding)) == encode(samples, Encoding.L16)
    assert order.encoding is encoding


def test_noise_is_held_for_a_second_and_then_taken_as_it_is() -> None:
    """White noise is the same in both orders; the call must not wait for ever."""
    payload = encode(noise(16000), Encoding.L16)
    order = ByteOrder(8000)
    held = [order.push(Audio(0, at // 2, payload[at : at + 320])) for at in range(0, len(payload), 320)]
    assert [len(given) for given in held[:51]] == [0] * 49 + [50, 1]


def test_an_end_before_any_decision_gives_out_what_is_held() -> None:
    """A very short call is heard too."""
    order = ByteOrder(8000)
    assert order.push(Audio(0, 0, b"\x01\x00")) == []
    assert order.flush() == [Audio(0, 0, b"\x01\x00")]
