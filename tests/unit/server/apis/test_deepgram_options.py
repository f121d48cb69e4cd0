"""The query of Deepgram's live endpoint."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from server.apis.deepgram_options import Options, read_options
from server.errors import Refusal
from streaming.call import AudioFormat, Encoding
from tests.support.dialects import UPGRADE


def read(query: str) -> Options:
    return read_options(parse_qsl(query, keep_blank_values=True), ["tiny.en", "base"])


def test_every_wish_reaches_the_call() -> None:
    options = read(
        "model=base&encoding=linear16&sample_rate=16000&channels=2&multichannel=true&interim_results=true"
        "&endpointing=300&utterance_end_ms=1000&vad_events=true&language=de-CH"
        "&keyterm=Trunk+line&keyterm=SLA&keywords=carrier:2&keywords=&tag=a&tag=b&extra=queue:support&smart_format=true"
    )
    assert options.audio is not None
    spec = options.spec(UPGRADE, options.audio)
    assert spec.audio == AudioFormat(Encoding.L16, 16000, 2)
    assert (spec.call, spec.tenant, spec.sides, spec.mixed) == ("request-1", "acme", 2, False)
    assert (spec.language, spec.model, spec.interim) == ("de", "base", True)
    assert (spec.endpoint_ms, spec.utterance_end_ms, options.vad_events) == (300, 1000, True)
    assert spec.hotwords == ("Trunk line", "SLA", "carrier")
    assert spec.metadata == {"tag.0": "a", "tag.1": "b", "queue": "support"}


def test_two_channels_without_multichannel_are_mixed_down() -> None:
    options = read("encoding=mulaw&sample_rate=8000&channels=2")
    assert options.audio is not None
    spec = options.spec(UPGRADE, options.audio)
    assert (spec.mixed, spec.sides, spec.labels) == (True, 1, ("channel 0",))


def test_what_is_left_out_has_the_protocols_defaults() -> None:
    options = read("model=nova-3")
    assert options == Options(
        audio=None,
        multichannel=False,
        interim=False,
        endpointing=True,
        endpoint_ms=None,
        utterance_end_ms=None,
        vad_events=False,
        hotwords=(),
        language="en",
        model=None,
        metadata={},
    )
    assert read("language=multi").language is None
    assert read("endpointing=true").endpointing
    assert not read("endpointing=false").endpointing


@pytest.mark.parametrize(
    "query",
    [
        "encoding=opus&sample_rate=48000",
        "encoding=mulaw",
        "encoding=mulaw&sample_rate=11025",
        "encoding=mulaw&sample_rate=8k",
        "encoding=mulaw&sample_rate=8000&channels=21",
        "interim_results=yes",
        "endpointing=soon",
        "language=the+usual+one",
        "callback=https://example.com",
        "redact=pci",
    ],
)
def test_impossible_wishes_are_refused_with_400(query: str) -> None:
    """Silence about them would be worse: text unredacted, or none at all."""
    with pytest.raises(Refusal) as refused:
        read(query)
    assert refused.value.status == 400
