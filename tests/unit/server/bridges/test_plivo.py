"""Plivo's media streams, and those of its imitators, as translators."""

from __future__ import annotations

import base64
import json

import pytest
from pydantic import SecretStr

from server.auth import Keyring
from server.bridges.plivo import ExotelDialect, PlivoDialect, VobizDialect, routes, signatures
from server.dialect import Close, Dtmf
from server.errors import BadSetting, Refusal
from server.routes import Caller
from server.settings import Plivo
from streaming.audio import encode
from streaming.call import AudioFormat, Encoding
from tests.support.audio import sine
from tests.support.bridges import Line, fuzz, upgrade

TOKEN = "plivo-auth-token"  # noqa: S105 - the reference's test vector
URL = "https://stt.example.com/v1/bridges/plivo"
UNIX_MS = 1_705_312_200_000


def start(extra: object = "userId=12345;sessionId=abc", tracks: object = ("inbound",), **media_format: object) -> str:
    body = {
        "callId": "1234-a",
        "streamId": "8765-b",
        "accountId": "MA01",
        "tracks": tracks,
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000} | media_format,
    }
    return json.dumps({"event": "start", "sequenceNumber": 1, "start": body, "extra_headers": extra})


def media(samples: bytes, chunk: int, track: str = "inbound") -> str:
    body = {
        "track": track,
        "timestamp": str(UNIX_MS + 20 * chunk),
        "chunk": chunk,
        "payload": base64.b64encode(samples).decode(),
    }
    return json.dumps(
        {"event": "media", "sequenceNumber": 1 + chunk, "streamId": "8765-b", "media": body, "extra_headers": "{}"}
    )


DTMF = json.dumps(
    {
        "event": "dtmf",
        "sequenceNumber": 50,
        "streamId": "8765-b",
        "dtmf": {"track": "inbound", "digit": "5", "timestamp": str(UNIX_MS)},
        "extra_headers": "{}",
    }
)
FRAMES = [media(bytes([number]) * 160, number) for number in range(1, 6)]


def line() -> Line:
    return Line(PlivoDialect(upgrade()))


def test_our_sessions_are_what_plivos_own_sdk_reads() -> None:
    """The generated session stands for the carrier only if the carrier's models accept it."""
    types = pytest.importorskip("plivo_stream.types", reason="needs plivo-stream-sdk")
    models = types
    models.StartEvent.model_validate_json(start())
    models.MediaEvent.model_validate_json(FRAMES[0])
    models.DtmfEvent.model_validate_json(DTMF)


def test_a_call_from_start_to_close() -> None:
    """Plivo has no stop: the close is the end, and a normal one."""
    call = line().say(start(), *FRAMES, DTMF).hang_up()
    spec = call.spec
    assert spec is not None
    assert (spec.call, spec.labels) == ("8765-b", ("inbound",))
    assert spec.audio == AudioFormat(Encoding.MULAW, 8000, 1)
    assert spec.metadata == {
        "plivo.stream_id": "8765-b",
        "plivo.call_id": "1234-a",
        "plivo.account_id": "MA01",
        "userId": "12345",
        "sessionId": "abc",
    }
    assert [one.position for one in call.audio] == [0, 160, 320, 480, 640]
    assert (call.keys, call.ended, call.close) == ([Dtmf(0, "5")], "hangup", None)


def test_a_stop_which_imitators_send_ends_the_call_too() -> None:
    """Vobiz is served by the same words."""
    stop = json.dumps({"event": "stop", "sequenceNumber": 9, "streamId": "8765-b"})
    call = Line(VobizDialect(upgrade())).say(start("{}"), *FRAMES, stop)
    assert call.spec is not None
    assert call.spec.metadata["vobiz.call_id"] == "1234-a"
    assert call.ended == "hangup"
    assert call.finish().close == Close(1000)


@pytest.mark.parametrize(
    ("extra", "metadata"),
    [
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("a=1, b=x=y", {"a": "1", "b": "x=y"}),
        ('{"a": "1", "n": 2}', {"a": "1", "n": "2"}),
        ({"a": "1"}, {"a": "1"}),
        ("{}", {}),
        ("", {}),
        (None, {}),
        ("nothing", {}),
    ],
)
def test_extra_headers_come_in_several_spellings(extra: object, metadata: dict[str, str]) -> None:
    """They are how an application passes on what it knows."""
    spec = line().say(start(extra)).spec
    assert spec is not None
    assert {name: value for name, value in spec.metadata.items() if "plivo." not in name} == metadata


def test_both_tracks_and_wishes() -> None:
    """Each side has its channel; wishes travel in the headers."""
    call = line().say(
        start("labels=customer,agent;language=en-GB", ("inbound", "outbound")),
        FRAMES[0],
        media(b"\x09" * 160, 1, "outbound"),
    )
    assert call.spec is not None
    assert (call.spec.language, call.spec.labels) == ("en", ("customer", "agent"))
    assert [one.channel for one in call.audio] == [0, 1]


def test_linear_audio_is_read_in_the_byte_order_it_comes_in() -> None:
    """MIME's audio/L16 is big-endian, most senders are not."""
    samples = sine(300, 640, 16000)
    frames = [media(encode(samples[at : at + 320], Encoding.L16BE), 1 + at // 320) for at in (0, 320)]
    call = line().say(start(encoding="audio/x-l16", sampleRate=16000), *frames)
    assert call.samples(0) == encode(samples, Encoding.L16)


def test_a_codec_we_lack_is_refused_with_the_attribute_that_helps() -> None:
    """The reason is all that the user of the bridge gets to see."""
    close = line().say(start(encoding="audio/opus")).close
    assert close is not None
    assert close.code == 1008
    assert close.reason.startswith("unknown_encoding")


def caller(**headers: str) -> Caller:
    return Caller(
        "/bridges/plivo", (), {name.replace("_", "-"): value for name, value in headers.items()}, (), {}, False
    )


def test_the_published_signature_is_made_and_plivos_own_helper_agrees() -> None:
    """The vector, and the code Plivo ships for the other side."""
    assert "yEhdVL0n+qvI4aG+2WuXwpPtSHp4L5gf/twKslYIgO0=" in signatures(TOKEN, URL, "12345")
    helper = pytest.importorskip("plivo.utils.signature_v3", reason="needs plivo")
    for scheme in ("wss", "https"):
        address = URL.replace("https", scheme)
        theirs = helper.get_signature_v3(TOKEN, address, "12345").decode()
        assert theirs in signatures(TOKEN, URL, "12345")


def test_signed_requests_are_let_in_and_others_are_not() -> None:
    """The header may hold several signatures while a token is being changed."""
    settings = Plivo(auth_token=SecretStr(TOKEN), public_url=URL.replace("https", "wss"), tenant="acme")
    route = routes(Keyring({}), settings, 300)[0]
    for good in signatures(TOKEN, URL, "12345"):
        shown = {"X_Plivo_Signature_V3": f"AAAA, {good}", "X_Plivo_Signature_V3_Nonce": "12345"}
        assert route.identify(caller(**shown)) == "acme"
        with pytest.raises(Refusal, match="compare both"):
            route.identify(caller(**shown | {"X_Plivo_Signature_V3_Nonce": "12346"}))
    for wrong in ({}, {"X_Plivo_Signature_V3": signatures(TOKEN, URL, "")[0]}):
        with pytest.raises(Refusal, match="compare both"):
            route.identify(caller(**wrong))


def test_settings_are_checked_and_without_a_token_keys_count() -> None:
    """A half-configured signature would refuse every call, or let everyone in."""
    with pytest.raises(BadSetting, match="public_url"):
        routes(Keyring({}), Plivo(auth_token=SecretStr(TOKEN)), 300)
    keyring = Keyring({"acme": ["secret"]})
    plain, placed = routes(keyring, Plivo(), 300)[:2]
    with pytest.raises(Refusal, match="API key"):
        plain.identify(caller())
    captured = placed.match("/bridges/plivo/secret")
    assert captured is not None
    assert captured == {"key": "secret"}
    assert placed.identify(Caller("", (), {}, (), captured, False)) == "acme"


EXOTEL = [
    '{"event":"connected"}',
    json.dumps(
        {
            "event": "start",
            "sequence_number": "1",
            "stream_sid": "E1",
            "start": {
                "stream_sid": "E1",
                "call_sid": "C1",
                "account_sid": "A1",
                "from": "0800",
                "to": "0900",
                "custom_parameters": {"language": "hi"},
                "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"},
            },
        }
    ),
    *[
        json.dumps(
            {
                "event": "media",
                "sequence_number": str(1 + number),
                "stream_sid": "E1",
                "media": {
                    "chunk": str(number),
                    "timestamp": str(100 * number),
                    "payload": base64.b64encode(bytes([number, 0]) * 800).decode(),
                },
            }
        )
        for number in range(1, 4)
    ],
    '{"event":"dtmf","sequence_number":"5","stream_sid":"E1","dtmf":{"duration":"100","digit":"#"}}',
    '{"event":"stop","sequence_number":"9","stream_sid":"E1","stop":{"call_sid":"C1","account_sid":"A1","reason":"ended"}}',
]


def test_exotel_sends_pcm_in_twilios_shape() -> None:
    """Read as mu-law it would be noise."""
    call = Line(ExotelDialect(upgrade())).say(*EXOTEL)
    assert call.spec is not None
    assert call.spec.audio == AudioFormat(Encoding.L16, 8000, 1)
    assert (call.spec.call, call.spec.language, call.spec.metadata["exotel.call_sid"]) == ("E1", "hi", "C1")
    assert call.samples(0) == b"".join(bytes([number, 0]) * 800 for number in range(1, 4))
    assert [one.position for one in call.audio] == [0, 800, 1600]
    assert (call.keys, call.ended) == ([Dtmf(0, "#")], "hangup")


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves a dialect."""
    fuzz(lambda: PlivoDialect(upgrade()), [[start(), *FRAMES, DTMF], [start(encoding="audio/x-l16"), *FRAMES]])
    fuzz(lambda: ExotelDialect(upgrade()), [EXOTEL])
