"""FreeSWITCH's two modules as translators."""

from __future__ import annotations

import pytest

from server.bridge import Transcripts
from server.bridges.freeswitch import ForkDialect, StreamDialect, builder
from server.dialect import Close, Ill, Trouble
from server.errors import Refusal
from streaming.call import AudioFormat, Encoding
from streaming.records import SpeechStarted
from tests.support.bridge_sessions import FORK, STREAM
from tests.support.bridges import Line, fuzz, upgrade
from tests.support.dialects import final, partial


def test_a_fork_is_ended_by_an_empty_frame_and_closed_by_us() -> None:
    """graceful-shutdown waits for the text."""
    call = Line(ForkDialect(upgrade())).say(*FORK)
    assert call.spec is not None
    assert call.spec.audio == AudioFormat(Encoding.L16, 8000, 1)
    assert (call.spec.labels, call.spec.metadata) == (("caller",), {"queue": "support"})
    assert call.samples() == b"\x01\x00" * 4000
    assert (call.ended, call.close) == ("hangup", None)
    assert call.tell(final("hello world", 0.0, 1.0)).messages == [
        {
            "type": "transcription",
            "data": {
                "is_final": True,
                "transcript": "hello world",
                "confidence": 0.9,
                "channel": 0,
                "start": 0.0,
                "end": 1.0,
                "language": "en",
            },
        }
    ]
    assert call.finish().close == Close(1000)


def test_without_metadata_the_address_says_it_all_and_the_close_is_the_end() -> None:
    """uuid_audio_fork may be given no metadata."""
    call = Line(ForkDialect(upgrade(rate="16k", mix="stereo", labels="customer,agent", transcripts="all")))
    call.say(b"\x01\x00\x02\x00" * 100, b"\x01", b"\x00\x02\x00").hang_up()
    assert call.spec is not None
    assert (call.spec.audio, call.spec.labels) == (AudioFormat(Encoding.L16, 16000, 2), ("customer", "agent"))
    assert (call.spec.metadata, call.ended) == ({}, "hangup")
    assert call.samples() == b"\x01\x00\x02\x00" * 101


def test_metadata_may_be_any_text_and_later_texts_are_no_calls() -> None:
    """send_text adds frames at any time."""
    call = Line(ForkDialect(upgrade())).say("anything at all", b"\x00\x00", "more", '{"event":"dtmf","dtmf":"9"}', "[]")
    assert call.spec is not None
    assert call.spec.metadata == {"metadata": "anything at all"}
    assert [key.digit for key in call.keys] == ["9"]


@pytest.mark.parametrize(("chosen", "sent"), [(Transcripts.NONE, 0), (Transcripts.FINALS, 1), (Transcripts.ALL, 2)])
def test_text_goes_back_as_far_as_it_is_wanted(chosen: Transcripts, sent: int) -> None:
    """An event nobody reads is an event too many."""
    call = Line(ForkDialect(upgrade(), chosen)).say(*FORK[:2])
    call.tell(SpeechStarted(0, "x", 0, 0.0), partial("hello", 0, 1), final("hello", 0, 1))
    assert len(call.sent) == sent


def test_the_address_chooses_and_a_wrong_choice_is_refused_before_the_upgrade() -> None:
    """An HTTP error is easier to find than a close."""
    build = builder(ForkDialect, Transcripts.FINALS)
    assert Line(build(upgrade(transcripts="none"))).say(*FORK[:2]).tell(final("hello", 0, 1)).sent == []
    with pytest.raises(Refusal, match="none, finals or all"):
        build(upgrade(transcripts="some"))


@pytest.mark.parametrize(
    ("frame", "code"),
    [('{"mixType":"quad"}', "bad_channels"), ('{"sampleRate":64000}', "unknown_sample_rate")],
)
def test_what_cannot_be_served_is_refused_with_an_event(frame: str, code: str) -> None:
    """The module raises it in FreeSWITCH."""
    call = Line(ForkDialect(upgrade())).say(frame)
    assert call.close is not None
    assert call.close.code == 1008
    (message,) = call.messages
    assert message["type"] == "error"
    quiet = Line(ForkDialect(upgrade(), Transcripts.NONE)).say(frame)
    assert (quiet.sent, quiet.close) == ([], call.close)
    assert code in str(message["data"])


def test_mod_audio_stream_needs_no_first_word_and_an_empty_frame_means_nothing() -> None:
    """Pause and resume just stop the flow."""
    call = Line(StreamDialect(upgrade())).say(*STREAM, b"", *STREAM).hang_up()
    assert call.samples() == b"\x01\x00" * 8000
    assert call.ended == "hangup"


def test_a_drain_lets_the_call_finish() -> None:
    """A stop of the server loses no words."""
    call = Line(ForkDialect(upgrade())).say(*FORK[:3]).tell(Trouble(Ill.DRAINING, "draining"))
    assert (call.ended, call.close) == ("draining", None)


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialects."""
    fuzz(lambda: ForkDialect(upgrade(), Transcripts.ALL), [FORK, STREAM])
    fuzz(lambda: StreamDialect(upgrade(mix="stereo")), [STREAM, FORK])
