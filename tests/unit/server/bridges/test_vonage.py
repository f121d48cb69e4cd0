"""Vonage's and Infobip's WebSockets as translators."""

from __future__ import annotations

import json
import time

import pytest
from pydantic import SecretStr

from server.auth import Keyring
from server.bridges.vonage import InfobipDialect, VonageDialect, routes, verified
from server.dialect import Close, Dtmf, Ill, Trouble
from server.errors import Refusal
from server.routes import Caller
from server.settings import Vonage
from streaming.call import AudioFormat, Encoding
from tests.support.bridges import Line, fuzz, upgrade

SECRET = "a-signature-secret-of-the-account-0123456789"  # noqa: S105 - made up
CONNECTED = json.dumps(
    {
        "event": "websocket:connected",
        "content-type": "audio/l16;rate=16000",
        "caller-id": "447700900123",
        "language": "en-GB",
        "queue": "support",
    }
)
DTMF = '{"event":"websocket:dtmf","digit":"5","duration":260}'
FRAMES = [bytes([number, 0]) * 320 for number in range(5)]


def test_a_call_from_the_first_message_to_the_close() -> None:
    """There is no stop: the close is the end, and a normal one."""
    call = Line(VonageDialect(upgrade())).say(CONNECTED, *FRAMES, DTMF, '{"event":"websocket:cleared"}').hang_up()
    assert call.spec is not None
    assert call.spec.audio == AudioFormat(Encoding.L16, 16000, 1)
    assert (call.spec.call, call.spec.labels, call.spec.language) == ("request-1", ("mixed",), "en")
    assert call.spec.metadata == {"caller-id": "447700900123", "queue": "support"}
    assert call.samples() == b"".join(FRAMES)
    assert (call.keys, call.ended, call.close) == ([Dtmf(0, "5")], "hangup", None)


def test_the_query_survives_and_carries_wishes_but_never_the_key() -> None:
    """Metadata is written to the log; a key must not be."""
    call = Line(VonageDialect(upgrade(token="secret", call="my-call", hotwords="Trunkline, jambonz"))).say(CONNECTED)  # noqa: S106 - made up
    assert call.spec is not None
    assert (call.spec.call, call.spec.hotwords) == ("my-call", ("Trunkline", "jambonz"))
    assert "secret" not in call.spec.metadata.values()


def test_very_old_accounts_do_not_name_the_first_event() -> None:
    """They are accounts all the same."""
    call = Line(VonageDialect(upgrade())).say('{"content-type":"audio/l16;rate=8000"}', FRAMES[0])
    assert call.spec is not None
    assert call.spec.audio.rate == 8000


def test_a_frame_may_end_within_a_sample() -> None:
    """The other half is in the next frame; to lose it would make noise of the rest."""
    call = Line(VonageDialect(upgrade())).say(CONNECTED, b"\x01", b"\x02\x03", b"\x04")
    assert [one.payload for one in call.audio] == [b"\x01\x02", b"\x03\x04"]


def test_infobip_names_its_codec_in_its_own_way() -> None:
    """The rate is what matters."""
    call = Line(InfobipDialect(upgrade())).say(
        '{"event":"websocket:connected","content-type":"audio/x-private-pcm-16;rate=16000","callId":"c/1","from":"0800"}'
    )
    assert call.spec is not None
    assert (call.spec.call, call.spec.metadata) == ("c_1", {"callId": "c/1", "from": "0800"})


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ('{"event":"websocket:connected","content-type":"audio/l16;rate=11025"}', "unknown_sample_rate"),
        ('{"event":"websocket:connected","content-type":"audio/l16"}', "unknown_sample_rate"),
        ('{"event":"websocket:connected"}', "unknown_sample_rate"),
        ('{"event":"websocket:connected","content-type":"audio/opus;rate=16000"}', "unknown_encoding"),
        (CONNECTED.replace("en-GB", "British English"), "bad_option"),
        (b"\x00\x00", "audio_before_start"),
    ],
)
def test_what_cannot_be_served_is_refused(frame: str | bytes, reason: str) -> None:
    """Loud and at once, while somebody looks."""
    close = Line(VonageDialect(upgrade())).say(frame).close
    assert close is not None
    assert (close.code, close.reason.partition(":")[0]) == (1008, reason)


def test_silence_or_a_drain_end_the_call_before_the_connection() -> None:
    """A close of ours starts the customer's fallback: it comes last, and only where it must."""
    call = Line(VonageDialect(upgrade())).say(CONNECTED, FRAMES[0]).tell(Trouble(Ill.IDLE, "idle"))
    assert (call.ended, call.close) == ("idle", None)
    assert call.finish().close == Close(4408, "idle")


def token(**claims: object) -> str:
    jwt = pytest.importorskip("jwt", reason="needs PyJWT, which vonage-jwt brings")
    return str(jwt.encode(claims, SECRET, algorithm="HS256"))


def test_vonages_own_helper_and_ours_agree() -> None:
    """The code Vonage ships for the other side is the judge."""
    helper = pytest.importorskip("vonage_jwt", reason="needs vonage-jwt")
    good = token(iss="Vonage", iat=int(time.time()))
    head, _, signature = good.rpartition(".")
    bad = f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    for shown, expected in ((good, True), (bad, False)):
        assert verified(shown, SECRET, time.time()) is expected
        assert helper.verify_signature(shown, SECRET) is expected


def test_a_token_counts_in_its_time_only() -> None:
    """With a minute for clocks that differ."""
    shown = token(nbf=1000, exp=2000)
    assert [verified(shown, SECRET, now) for now in (939.0, 941.0, 2059.0, 2061.0)] == [False, True, True, False]


@pytest.mark.parametrize("shown", ["", "a", "a.b.c", "e30.e30.", "W10.e30.x", "_w.e30.x", "é.e30.x"])
def test_what_is_no_token_of_theirs_is_none(shown: str) -> None:
    """Neither an unsigned one nor nonsense."""
    assert not verified(shown, SECRET, 1000.0)


def test_signed_requests_are_let_in_and_others_are_not() -> None:
    """A secret that is set makes keys count no longer."""
    route = routes(Keyring({}), Vonage(signature_secret=SecretStr(SECRET), tenant="acme"), 300)[0]
    assert route.identify(Caller("", (), {"Authorization": f"Bearer {token()}"}, (), {}, False)) == "acme"
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        with pytest.raises(Refusal, match="signature_secret"):
            route.identify(Caller("", (), headers, (), {}, False))
    assert [one.pattern for one in routes(Keyring({}), Vonage(), 300)] == [
        "/bridges/vonage",
        "/bridges/vonage/{key}",
        "/bridges/infobip",
        "/bridges/infobip/{key}",
    ]


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    fuzz(lambda: VonageDialect(upgrade()), [[CONNECTED, *FRAMES, DTMF]])
