"""The native protocol's messages."""

from __future__ import annotations

import json

import pytest

from streaming import messages
from streaming.call import AudioFormat, Encoding
from streaming.decoding import Word
from streaming.errors import BadMessage
from streaming.message_codec import dump, dump_of, parse

AUDIO = {"encoding": "linear16", "sample_rate": 16000, "channels": 2}


def start(**fields: object) -> str:
    return json.dumps({"type": "start", "audio": AUDIO, **fields})


def code_of(text: str) -> str:
    with pytest.raises(BadMessage) as refused:
        parse(text)
    return refused.value.code


def test_a_start_carries_every_wish() -> None:
    assert parse(
        start(
            call="c-1",
            labels=["customer", "agent"],
            language="de-AT",
            hotwords=["Trunkline"],
            model="base",
            interim=False,
            endpoint_ms=0,
            utterance_end_ms=1000,
            metadata={"queue": "a"},
        )
    ) == messages.Start(
        audio=AudioFormat(Encoding.L16, 16000, 2),
        call="c-1",
        labels=("customer", "agent"),
        language="de",
        hotwords=("Trunkline",),
        model="base",
        interim=False,
        endpoint_ms=0,
        utterance_end_ms=1000,
        metadata={"queue": "a"},
    )


def test_a_start_needs_nothing_but_its_audio_and_null_means_absent() -> None:
    """Clients in many languages write null for what they leave out."""
    text = json.dumps(
        {
            "type": "start",
            "audio": {"encoding": "mulaw", "sample_rate": 8000},
            "call": None,
            "labels": None,
            "interim": None,
            "endpoint_ms": None,
            "metadata": None,
            "something_new": 1,
        }
    )
    assert parse(text) == messages.Start(audio=AudioFormat(Encoding.MULAW, 8000, 1))


def test_the_other_messages_of_a_client() -> None:
    assert parse('{"type":"finalize","id":"7","channel":1}') == messages.Finalize("7", 1)
    assert parse('{"type":"finalize"}') == messages.Finalize("", None)
    assert parse('{"type":"keepalive"}') == messages.KeepAlive()
    assert parse('{"type":"close"}') == messages.Close()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad_json"),
        ('{"type":"resume","call":"c"}', "bad_option"),
        ('{"type":"resume","token":"t"}', "bad_option"),
        ('{"type":"resume","call":"c","token":"t","finals":3}', "bad_option"),
        ('{"type":"resume","call":"c","token":"t","finals":[true]}', "bad_option"),
        ('{"type":"resume","call":"c","token":"t","finals":[-1]}', "bad_option"),
        ('{"type":"resume","call":"c","token":"t","finals":["1"]}', "bad_option"),
        ("[" * 100_000, "bad_json"),
        ("3", "bad_message"),
        ("{}", "bad_message"),
        ('{"type":"begin"}', "unknown_type"),
        ('{"type":7}', "bad_option"),
        ('{"type":"start"}', "unknown_encoding"),
        ('{"type":"start","audio":5}', "bad_option"),
        (start(audio={**AUDIO, "encoding": "mp3"}), "unknown_encoding"),
        (start(audio={**AUDIO, "encoding": 1}), "unknown_encoding"),
        (start(audio={**AUDIO, "sample_rate": 8001}), "unknown_sample_rate"),
        (start(audio={**AUDIO, "sample_rate": "8000"}), "unknown_sample_rate"),
        (start(audio={**AUDIO, "channels": 21}), "bad_channels"),
        (start(audio={**AUDIO, "channels": True}), "bad_channels"),
        (start(labels=["one"]), "bad_option"),
        (start(labels="one"), "bad_option"),
        (start(labels=[1, 2]), "bad_option"),
        (start(language="English, please"), "bad_option"),
        (start(hotwords=["w"] * 201), "bad_option"),
        (start(hotwords=["w" * 201]), "bad_option"),
        (start(call="a/b"), "bad_option"),
        (start(call=""), "bad_option"),
        (start(interim="yes"), "bad_option"),
        (start(endpoint_ms=-1), "bad_option"),
        (start(endpoint_ms=1.5), "bad_option"),
        (start(metadata={"a": 1}), "bad_option"),
        ('{"type":"finalize","channel":-1}', "bad_option"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_protocols_code(text: str, code: str) -> None:
    assert code_of(text) == code


def test_times_are_written_in_milliseconds_and_an_absent_hint_is_left_out() -> None:
    """A client should not see the noise of binary fractions."""
    word = Word("hi", 0.1 + 0.2, 1 / 3, 2 / 3)
    final = messages.Final(0, "a", 0, 0.30000000004, 1 / 3, "hi", (word,), 2 / 3, "en", "m", "end", 1 / 3, 0.1)

    written = json.loads(dump(final))

    assert written["words"] == [{"text": "hi", "start": 0.3, "end": 0.333, "confidence": 0.6667}]
    assert (written["start"], written["confidence"]) == (0.3, 0.6667)
    assert "retry_after_s" not in json.loads(dump(messages.Error("c", "m", fatal=False)))
    assert json.loads(dump(messages.Error("c", "m", fatal=True, retry_after_s=2.0)))["retry_after_s"] == 2.0


def test_who_follows_several_calls_is_told_which_call_it_is_without_single_words() -> None:
    """A page of many calls shows their text; a word's times and the count of finals are for who made the call."""
    word = Word("hi", 0.1, 0.3, 0.9)
    final = messages.Final(0, "a", 4, 0.1, 0.3, "hi", (word,), 0.9, "en", "m", "end", 0.3, 0.1)

    alone, among_others = json.loads(dump(final)), json.loads(dump_of("call-1", final))

    del alone["words"]
    assert among_others == {**alone, "call": "call-1"}

    closed = messages.Closed("call-1", "end", audio_s=2.0, padded_s=0.0, finals=3)
    assert json.loads(dump_of("call-1", closed)) == {
        "type": "closed",
        "call": "call-1",
        "reason": "end",
        "audio_s": 2.0,
        "padded_s": 0.0,
    }


def test_the_calls_in_progress_are_listed() -> None:
    """Who follows all calls begins with those that are there already."""
    calls = messages.Calls((messages.CallSummary("call-1", ("caller", "agent"), 1.5),))

    assert json.loads(dump(calls)) == {
        "type": "calls",
        "calls": [{"call": "call-1", "labels": ["caller", "agent"], "opened_at": 1.5}],
        "version": messages.VERSION,
    }
