"""Bridges we do not know, as a translator."""

from __future__ import annotations

import pytest

from server.bridge import Transcripts
from server.bridges.generic import GenericDialect, build
from server.dialect import Acked, Close, Dtmf, Ill, Trouble, Upgrade
from server.errors import Refusal
from streaming.call import AudioFormat, Encoding
from streaming.records import Progress
from tests.support.bridges import Frame, Line, fuzz, upgrade
from tests.support.dialects import final, partial

STEREO = {
    "encoding": "PCMU",
    "rate": "8000",
    "channels": "2",
    "labels": "customer,agent",
    "language": "de",
    "queue": "q",
}


def stereo(transcripts: Transcripts = Transcripts.NONE) -> Line:
    return Line(build(upgrade(**STEREO, transcripts=transcripts)))


def test_the_address_says_everything() -> None:
    """A bridge that can send samples to an address can be used."""
    call = stereo().say(b"\x01\x02" * 160).hang_up()
    assert call.spec is not None
    assert call.spec.audio == AudioFormat(Encoding.MULAW, 8000, 2)
    assert (call.spec.labels, call.spec.language, call.spec.metadata) == (("customer", "agent"), "de", {"queue": "q"})
    assert (call.samples(), call.ended) == (b"\x01\x02" * 160, "hangup")


@pytest.mark.parametrize(
    "ending", [b"", '{"type":"stop"}', '{"event":"stop"}', '{"type":"CloseStream"}', '{"message":"end"}']
)
def test_every_usual_ending_ends_the_call(ending: Frame) -> None:
    """The text is finished, then we close."""
    call = stereo().say(b"\x01\x02", ending)
    assert (call.ended, call.close) == ("hangup", None)
    assert call.finish().close == Close(1000)


def test_keys_may_come_with_their_channel_and_other_texts_mean_nothing() -> None:
    """Bridges chatter."""
    call = stereo().say(
        '{"type":"dtmf","digit":"4"}',
        '{"type":"dtmf","digit":5,"channel":1}',
        '{"type":"dtmf","digit":"6","channel":2}',
        '{"type":"dtmf","digit":"x"}',
        '{"type":"hello"}',
        "{}",
    )
    assert call.keys == [Dtmf(0, "4"), Dtmf(1, "5")]


@pytest.mark.parametrize(
    ("chosen", "types"),
    [
        (Transcripts.NONE, []),
        (Transcripts.FINALS, ["final", "closed"]),
        (Transcripts.ALL, ["partial", "final", "closed"]),
    ],
)
def test_text_goes_back_in_our_own_words_as_far_as_it_is_wanted(chosen: Transcripts, types: list[str]) -> None:
    """Most bridges read nothing."""
    call = stereo(chosen).say(b"\x01\x02", b"")
    call.tell(Acked(1.0), Progress(0, "x", 0, 0, 5), partial("hello", 0, 1), final("hello", 0, 1)).finish()
    assert [message["type"] for message in call.messages] == types


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"encoding": "opus"}, "unknown_encoding"),
        ({"rate": "11025"}, "unknown_sample_rate"),
        ({"channels": "0"}, "bad_channels"),
        ({"channels": "21"}, "bad_channels"),
        ({"channels": "two"}, "bad_channels"),
        ({"endpoint_ms": "-1"}, "bad_option"),
        ({"language": "?"}, "bad_option"),
        ({"call": "a b"}, "bad_option"),
        ({"transcripts": "some"}, "bad_option"),
    ],
)
def test_what_cannot_be_served_is_refused_before_the_upgrade(query: dict[str, str], code: str) -> None:
    """An HTTP error is easier to find than a close."""
    with pytest.raises(Refusal) as refused:
        build(upgrade(**query))
    assert (refused.value.status, refused.value.code) == (400, code)


def test_trouble_is_told_where_text_is_read() -> None:
    """And closes either way."""
    for chosen, sent in ((Transcripts.NONE, 0), (Transcripts.ALL, 1)):
        call = stereo(chosen).tell(Trouble(Ill.TOO_FAST, "too fast"))
        assert (len(call.sent), call.close) == (sent, Close(1008, "too_fast"))


def test_text_frames_that_are_not_json_are_refused() -> None:
    """Base64 audio in text frames, for example."""
    call = stereo().say("AAAA")
    assert call.close is not None
    assert call.close.code == 1008


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    session: list[Frame] = [*[b"\x01\x02\x03\x04" * 80] * 5, '{"type":"dtmf","digit":"4"}', '{"type":"stop"}']
    made = Upgrade("acme", "request-1", "/", tuple(STEREO.items()))
    fuzz(lambda: GenericDialect(made, Transcripts.ALL), [session])
