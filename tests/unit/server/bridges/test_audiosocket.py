"""Asterisk's AudioSocket as a translator."""

from __future__ import annotations

import pytest

from server.bridges.audiosocket import AUDIO, AudioSocketDialect
from server.dialect import Close, Dtmf
from streaming.call import AudioFormat, Encoding
from tests.support.bridge_sessions import AUDIOSOCKET, AUDIOSOCKET_UUID, audiosocket_frame
from tests.support.bridges import Line, fuzz, upgrade


def test_a_call_from_its_uuid_to_its_hangup() -> None:
    """The UUID is all that is known of the call, so it is its id."""
    call = Line(AudioSocketDialect(upgrade())).say(*AUDIOSOCKET)
    assert call.spec is not None
    assert (call.spec.call, call.spec.audio) == (str(AUDIOSOCKET_UUID), AudioFormat(Encoding.L16, 8000, 1))
    assert call.spec.metadata == {"audiosocket.uuid": str(AUDIOSOCKET_UUID)}
    assert call.samples() == b"\x01\x00" * 4000
    assert (call.keys, call.ended) == ([Dtmf(0, "7")], "hangup")
    assert call.finish().close == Close(1000)


def test_a_connection_that_just_closes_is_a_normal_end() -> None:
    """That is how Asterisk ends most of them."""
    assert Line(AudioSocketDialect(upgrade())).say(*AUDIOSOCKET[:5]).hang_up().ended == "hangup"


@pytest.mark.parametrize("kind", list(AUDIO))
def test_the_kind_of_the_first_samples_says_the_rate(kind: int) -> None:
    """The channel form of AudioSocket has other rates than 8 kHz."""
    spec = Line(AudioSocketDialect(upgrade())).say(audiosocket_frame(kind, b"\x01\x00")).spec
    assert spec is not None
    assert (spec.call, spec.audio.rate) == ("request-1", AUDIO[kind])


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([audiosocket_frame(0x11, b"\x00\x00")], "unknown_sample_rate"),
        ([audiosocket_frame(0x10, b"\x00\x00"), audiosocket_frame(0x12, b"\x00\x00")], "bad_audio"),
    ],
)
def test_what_cannot_be_served_is_refused(frames: list[bytes], code: str) -> None:
    """Without a hangup frame: the call itself goes on."""
    call = Line(AudioSocketDialect(upgrade())).say(*frames)
    assert call.close is not None
    assert (call.close.code, call.close.reason.partition(":")[0], call.sent) == (1008, code, [])


def test_frames_of_other_kinds_and_lengths_mean_nothing() -> None:
    """Errors are told by Asterisk; a UUID has 16 bytes."""
    call = Line(AudioSocketDialect(upgrade())).say(
        audiosocket_frame(0xFF, b"\x01"), audiosocket_frame(0x01, b"short"), audiosocket_frame(0x42, b"x"), b""
    )
    assert (call.spec, call.close) == (None, None)


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect; the adapter gives it whole frames, so they have a header."""
    sessions = [[frame for frame in AUDIOSOCKET if isinstance(frame, bytes)]]
    fuzz(lambda: AudioSocketDialect(upgrade()), sessions)
