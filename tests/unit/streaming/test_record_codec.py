"""What lies in the log can be read back, and what cannot be is refused."""

from __future__ import annotations

import json
from typing import Final as Constant
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.call import MAX_CHANNELS, SUPPORTED_RATES, AudioFormat, CallSpec, Encoding
from streaming.decoding import Word
from streaming.errors import BadRecord
from streaming.record_codec import decode, encode, kind_of
from streaming.records import (
    ALL_CHANNELS,
    AudioChunk,
    CallEnded,
    CallOpened,
    CallPlaced,
    CallState,
    EndReason,
    Fence,
    Final,
    FinalizeRequested,
    Heartbeat,
    Partial,
    Record,
    SideProgress,
    Snapshot,
)

seconds = st.floats(0, 1e6)
numbers = st.integers(0, 2**53)
words = st.lists(st.builds(Word, st.text(), seconds, seconds, st.floats(0, 1)), max_size=4).map(tuple)
progress = st.builds(
    SideProgress, st.text(), numbers, numbers, numbers, st.text(), st.text(), language_confidence=st.floats(0, 1)
)
labels = st.lists(st.text(), max_size=3).map(tuple)


@st.composite
def specs(draw: st.DrawFn) -> CallSpec:
    audio = draw(
        st.builds(
            AudioFormat, st.sampled_from(Encoding), st.sampled_from(SUPPORTED_RATES), st.integers(1, MAX_CHANNELS)
        )
    )
    mixed = draw(st.booleans())
    sides = 1 if mixed else audio.channels
    return CallSpec(
        call=draw(st.text()),
        tenant=draw(st.text()),
        audio=audio,
        labels=tuple(draw(st.lists(st.text(), min_size=sides, max_size=sides))),
        language=draw(st.none() | st.text()),
        hotwords=draw(labels),
        model=draw(st.none() | st.text()),
        interim=draw(st.booleans()),
        endpoint_ms=draw(st.none() | numbers),
        utterance_end_ms=draw(st.none() | numbers),
        opened_at=draw(seconds),
        metadata=draw(st.dictionaries(st.text(), st.text(), max_size=2)),
        mixed=mixed,
    )


def records(kind: type[Record]) -> st.SearchStrategy[Record]:
    """Any record of a kind."""
    special: dict[object, st.SearchStrategy[object]] = {
        CallSpec: specs(),
        tuple[Word, ...]: words,
        tuple[str, ...]: labels,
        float: seconds,
        tuple[SideProgress, ...]: st.lists(progress, max_size=2).map(tuple),
        tuple[CallState, ...]: st.lists(st.builds(CallState, specs()), max_size=2).map(tuple),
    }
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: special.get(hint, st.from_type(hint)) for name, hint in hints.items()})


chunks = st.builds(
    AudioChunk,
    st.text(),
    numbers,
    st.integers(0, ALL_CHANNELS),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=300),
    st.integers(0, 2**32 - 1),
)
KINDS = [kind for kind in get_args(Record) if kind is not AudioChunk]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_record_can_be_read_back(kind: type[Record], data: st.DataObject) -> None:
    """All kinds, with any text in any script."""
    record = data.draw(records(kind))

    assert decode(encode(record)) == record


@given(chunks)
def test_every_chunk_can_be_read_back(chunk: AudioChunk) -> None:
    assert decode(encode(chunk)) == chunk


def test_chunks_cost_little_more_than_their_audio() -> None:
    """They are most of the log: 160 bytes of audio every 20 ms."""
    assert len(encode(AudioChunk("call-123", 7, 0, 1120, bytes(160)))) == 160 + len("call-123") + 24


def test_the_kind_bytes_never_change() -> None:
    """Logs are read by other versions than wrote them: a kind is never reused, and these are taken."""
    chunk = AudioChunk("c", 0, 0, 0, b"")
    spec = CallSpec("c", "t", AudioFormat(Encoding.MULAW, 8_000), ("x",))
    records: list[Record] = [
        CallOpened(spec),
        chunk,
        FinalizeRequested("c", None, "m"),
        CallEnded("c", "r"),
        Fence(1, "o"),
    ]

    assert [encode(record)[0] for record in records] == [1, 2, 3, 4, 16]
    assert encode(CallPlaced(spec, 0))[0] == 48


@pytest.mark.parametrize("value", [b"", b"\0", b"\x63{}", b"\xff"])
def test_an_unknown_kind_is_refused(value: bytes) -> None:
    """A newer version's record; skipping it is the reader's choice, guessing is nobody's."""
    with pytest.raises(BadRecord, match="is not known to this version"):
        decode(value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b'"words"',
        b'["words"]',
        b"{}",
        b'{"epoch":1}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_damaged_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadRecord, match="Fence record cannot be read"):
        decode(b"\x10" + body)


WORD: Constant = {"text": "secret", "start": 0.0, "end": 1.0, "confidence": 1.0}


def final() -> dict[str, object]:
    fields: dict[str, object] = {"epoch": 1, "call": "c", "channel": 0, "number": 0, "from_sample": 0, "to_sample": 1}
    fields |= {"words": [WORD], "language": "en", "language_confidence": 1.0, "model": "m", "reason": "cut"}
    return fields | {"speech_end": 1.0, "latency_s": 0.1}


def test_the_fields_of_a_final_are_what_others_write_too() -> None:
    """Archivers outside this repository read them."""
    record = decode(b"\x11" + json.dumps(final()).encode())

    assert isinstance(record, Final)
    assert record.reason is EndReason.CUT


DAMAGES: Constant[list[dict[str, object]]] = [
    {"words": 7},
    {"words": [{}]},
    {"words": ["secret"]},
    {"words": [{"text": "secret", "start": "0", "end": 1.0, "confidence": 1.0}]},
    {"reason": 7},
    {"number": "0"},
    {"number": None},
    {"number": 1.5},
    {"number": True},
    {"channel": [0]},
    {"speech_end": "1"},
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: next(iter(damage)))
def test_a_final_with_a_field_of_another_kind_is_refused_and_its_words_are_not_told(damage: dict[str, object]) -> None:
    """What a reader trusts must be what it says; and what was said is not for log lines."""
    with pytest.raises(BadRecord) as refused:
        decode(b"\x11" + json.dumps(final() | damage).encode())

    assert "secret" not in str(refused.value)


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    """While a cluster is upgraded old and new processes read each other's records."""
    newer = {**final(), "sentiment": {"score": 1}, "words": [{**WORD, "speaker": 3}]}

    assert decode(b"\x11" + json.dumps(newer).encode()) == decode(b"\x11" + json.dumps(final()).encode())
    assert decode(b'\x10{"epoch":1,"owner":"o","more":1}') == Fence(1, "o")


def test_a_field_that_an_older_version_did_not_know_says_what_its_absence_meant() -> None:
    assert decode(b'\x41{"owner":"o","slots":[1],"load":0.5,"draining":false}') == Heartbeat("o", (1,), 0.5, False)
    progress = b'{"call":"c","channel":0,"next_number":1,"done_to":7,"context":""}'
    body = b'"slot":0,"out_offset":1,"epoch":2,"closed":[],"audio_offset":3,"calls":[]'
    older = decode(b"\x43{" + body + b',"progress":[' + progress + b"]}")

    assert isinstance(older, Snapshot)
    assert older.progress == (SideProgress("c", 0, 1, 7, ""),)


def test_a_final_that_ended_for_a_reason_of_a_newer_version_counts() -> None:
    """Without it the transcript would have a hole, and nothing after it would count."""
    record = decode(b"\x11" + json.dumps(final() | {"reason": "telepathy"}).encode())

    assert isinstance(record, Final)
    assert record.reason is EndReason.ENDPOINT


def test_the_kind_of_a_record_can_be_told_though_it_cannot_be_read() -> None:
    assert kind_of(b"\x01{}") is CallOpened
    assert kind_of(b"\x63{}") is None
    assert kind_of(b"") is None


@pytest.mark.parametrize("damage", [{"rate": 11_025}, {"encoding": "opus"}, {"channels": "1"}, {"channels": 2}])
def test_a_call_in_a_format_that_cannot_be_is_refused(damage: dict[str, object]) -> None:
    body = json.loads(encode(CallOpened(CallSpec("c", "t", AudioFormat(Encoding.MULAW, 8_000), ("x",))))[1:])
    body["spec"]["audio"] |= damage

    with pytest.raises(BadRecord):
        decode(b"\x01" + json.dumps(body).encode())


@given(chunks, st.data())
def test_a_chunk_cut_off_before_its_audio_is_refused(chunk: AudioChunk, data: st.DataObject) -> None:
    """Never read as a chunk of another call."""
    value = encode(chunk)
    kept = data.draw(st.integers(1, len(value) - len(chunk.payload) - 1))

    with pytest.raises(BadRecord):
        decode(value[:kept])


@given(st.binary(max_size=60))
def test_whatever_lies_in_the_log_is_a_record_or_refused(value: bytes) -> None:
    """Nothing else is raised, so one bad record cannot stop a shard."""
    try:
        record = decode(value)
    except BadRecord:
        return
    assert isinstance(record, get_args(Record))


def test_a_partial_may_be_blank() -> None:
    """It withdraws what was shown."""
    blank = Partial(1, "c", 0, 0, 3, (), 0, 0.0, 1.0, "en", "tiny")

    assert decode(encode(blank)) == blank
