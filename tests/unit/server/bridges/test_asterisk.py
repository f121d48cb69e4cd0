"""Asterisk's chan_websocket as a translator."""

from __future__ import annotations

import pytest

from server.bridges.asterisk import RATES, AsteriskDialect
from server.dialect import Dtmf, Ill, Trouble
from streaming.call import AudioFormat, Encoding
from tests.support.bridge_sessions import ASTERISK, ASTERISK_JSON, ASTERISK_PLAIN
from tests.support.bridges import Frame, Line, fuzz, upgrade
from tests.support.dialects import final, partial


def test_a_channel_from_media_start_to_the_close() -> None:
    """Plain text control, ulaw, 20 ms frames: Asterisk's defaults."""
    call = Line(AsteriskDialect(upgrade(labels="customer"))).say(*ASTERISK).hang_up()
    assert call.spec is not None
    assert (call.spec.audio, call.spec.labels) == (AudioFormat(Encoding.MULAW, 8000, 1), ("customer",))
    assert call.spec.call == "c0ffee"
    assert call.spec.metadata == {
        "asterisk.connection_id": "c0ffee",
        "asterisk.channel": "WebSocket/conn1/0x7f",
        "asterisk.channel_id": "1700000000.1",
    }
    assert call.samples() == b"\xff" * 4000
    assert (call.keys, call.ended) == ([Dtmf(0, "5")], "hangup")


def test_json_control_is_understood_too() -> None:
    """f(json), from 20.18 on."""
    call = Line(AsteriskDialect(upgrade())).say(ASTERISK_JSON, '{"event":"DTMF_END","channel_id":"1","digit":"#"}')
    assert call.spec is not None
    assert call.spec.audio == AudioFormat(Encoding.L16, 16000, 1)
    assert (call.spec.metadata["QUEUE"], call.keys) == ("support", [Dtmf(0, "#")])


@pytest.mark.parametrize("name", list(RATES))
def test_every_format_we_have(name: str) -> None:
    """slin is little-endian 16-bit at the rate in its name."""
    spec = Line(AsteriskDialect(upgrade())).say(ASTERISK_PLAIN.replace("ulaw", name)).spec
    assert spec is not None
    assert spec.audio.rate == RATES[name]


def test_nothing_is_ever_sent_not_even_text() -> None:
    """A transcript would be an unknown command, and an over-long one."""
    call = Line(AsteriskDialect(upgrade())).say(*ASTERISK).tell(partial("hello", 0, 1), final("hello", 0, 1))
    assert (call.sent, call.close) == ([], None)


@pytest.mark.parametrize("word", ["", "STATUS x:y", "HELLO", '{"event":5}', "[]", "MEDIA_XON"])
def test_unknown_words_hang_up_nobody(word: str) -> None:
    """A close of ours ends people's call."""
    assert Line(AsteriskDialect(upgrade())).say(word, *ASTERISK, word).close is None


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (ASTERISK_PLAIN.replace("ulaw", "g722"), "unknown_encoding: dial with c(FORMAT)"),
        ("MEDIA_START", "unknown_encoding"),
        (b"\xff", "audio_before_start"),
    ],
)
def test_what_cannot_be_served_is_refused(frame: Frame, code: str) -> None:
    """Its reason names the dial option that helps."""
    close = Line(AsteriskDialect(upgrade())).say(frame).close
    assert close is not None
    assert (close.code, close.reason[: len(code)]) == (1008, code)


def test_a_full_server_refuses() -> None:
    """The dial plan goes on without us."""
    call = Line(AsteriskDialect(upgrade()), Trouble(Ill.OVERLOADED, "full", 5.0)).say(*ASTERISK)
    assert call.close is not None
    assert call.close.code == 1013


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    fuzz(lambda: AsteriskDialect(upgrade()), [ASTERISK, [ASTERISK_JSON, *ASTERISK[1:]]])
