"""jambonz' listen verb as a translator."""

from __future__ import annotations

import json

import pytest

from server.bridges.jambonz_listen import ListenDialect
from server.dialect import Close, Dtmf
from streaming.call import AudioFormat, Encoding
from tests.support.bridge_sessions import LISTEN, LISTEN_METADATA
from tests.support.bridges import Line, fuzz, upgrade
from tests.support.dialects import final


def test_both_sides_of_a_call_arrive_interleaved_with_the_keys_between() -> None:
    """Caller first; the close is the end, and a normal one."""
    call = Line(ListenDialect(upgrade())).say(*LISTEN).hang_up()
    assert call.spec is not None
    assert (call.spec.audio, call.spec.labels) == (AudioFormat(Encoding.L16, 16000, 2), ("caller", "callee"))
    assert (call.spec.call, call.spec.language) == ("sid-2-request-", "en")
    assert call.spec.metadata == {
        "jambonz.callSid": "sid-2",
        "jambonz.callId": "id-2",
        "callSid": "sid-2",
        "callId": "id-2",
        "direction": "inbound",
        "from": "+1",
        "to": "+2",
    }
    assert call.samples() == b"\x01\x00\x02\x00" * 8000
    assert (call.keys, call.ended, call.tell(final("hello", 0, 1)).sent) == ([Dtmf(0, "2")], "hangup", [])


@pytest.mark.parametrize(("mix", "channels"), [("mono", 1), ("mixed", 1), ("stereo", 2)])
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_every_mix_and_rate_but_64000(mix: str, channels: int, rate: int) -> None:
    """As the verb's documentation lists them."""
    metadata = json.dumps(json.loads(LISTEN_METADATA) | {"mixType": mix, "sampleRate": rate})
    spec = Line(ListenDialect(upgrade())).say(metadata).spec
    assert spec is not None
    assert spec.audio == AudioFormat(Encoding.L16, rate, channels)


def test_audio_before_the_metadata_is_refused() -> None:
    """Nobody knows what it is."""
    call = Line(ListenDialect(upgrade())).say(b"\x00\x00")
    assert call.close is not None
    assert call.close.reason.startswith("audio_before_start")


def test_an_empty_frame_ends_the_call_here_too() -> None:
    """The module underneath is the same."""
    assert Line(ListenDialect(upgrade())).say(*LISTEN, b"").finish().close == Close(1000)


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    fuzz(lambda: ListenDialect(upgrade()), [LISTEN])
