"""What the outside is told of a call."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema

from server.outlets.documents import Document, Documents, Kind
from streaming.records import FINAL_LOST, CallClosed, OutRecord, Partial, QualityChanged, SpeechStarted
from tests.support.dialects import final, partial
from tests.support.outputs import a_call, started

SCHEMA = json.loads((Path(__file__).parents[4] / "docs/transcripts.schema.json").read_text(encoding="utf-8"))


def told(*records: OutRecord | Partial, transcripts: bool = True) -> list[Document]:
    documents = Documents(transcripts=transcripts)
    return [document for record in records if (document := documents.of(record)) is not None]


def test_every_document_is_as_the_published_schema_says() -> None:
    """Receivers are written against the schema."""
    documents = told(started("call-1"), partial("I would", 0.0, 1.0), *a_call("call-1", 4)[1:])
    assert [document.kind for document in documents] == [Kind.STARTED, Kind.PARTIAL, *[Kind.FINAL] * 4, Kind.ENDED]
    for document in documents:
        jsonschema.validate(json.loads(document.json()), SCHEMA)


def test_every_document_of_a_call_has_an_id_of_its_own_that_is_the_same_when_it_is_told_again() -> None:
    """Receivers drop what they have had."""
    records = a_call("call-1", 5)
    ids = [document.id for document in told(*records)]
    assert len(set(ids)) == len(ids) == 7
    assert ids == [document.id for document in told(*records)]


def test_the_end_of_a_call_carries_all_that_was_said_in_the_order_spoken() -> None:
    """Who wants one document per call needs no other."""
    end = json.loads(told(*a_call("call-1", 4))[-1].json())
    assert [(said["label"], said["text"]) for said in end["transcript"]] == [
        ("customer", "w0"),
        ("agent", "w1"),
        ("customer", "w2"),
        ("agent", "w3"),
    ]
    assert end["finals"] == 4


def test_the_public_topic_does_not_repeat_the_transcript() -> None:
    """There each final is a record of its own already."""
    assert "transcript" not in json.loads(told(*a_call("call-1", 2), transcripts=False)[-1].json())


def test_speech_that_was_lost_is_counted_at_the_end() -> None:
    """A transcript with a hole says so."""
    lost = QualityChanged(0, "call-1", "", FINAL_LOST)
    slower = QualityChanged(0, "call-1", "tiny.en", "load")
    end = json.loads(told(lost, slower, CallClosed(0, "call-1", "hangup", 3.0, 0.0))[-1].json())
    assert (end["lost"], end["finals"]) == (1, 0)


def test_a_call_whose_beginning_is_not_known_is_told_without_a_tenant() -> None:
    """What is not known is not guessed: nobody gets it who asked for the calls of one tenant."""
    document = told(final("yes", 0.0, 1.0))[0]
    assert document.tenant == ""
    assert json.loads(document.json())["label"] == "channel 0"


def test_what_only_live_listeners_need_is_not_told() -> None:
    """The outside gets text, not the rhythm of speech."""
    assert told(SpeechStarted(0, "call-1", 0, 0.0)) == []


def test_calls_do_not_mix() -> None:
    """Two calls of one slot end with their own transcripts."""
    other = replace(final("no", 0.0, 1.0), call="call-2")
    ends = told(
        started("call-1"),
        started("call-2"),
        final("yes", 0.0, 1.0),
        other,
        *[CallClosed(0, call, "hangup", 1.0, 0.0) for call in ("call-1", "call-2")],
    )[-2:]
    assert [[said["text"] for said in json.loads(end.json())["transcript"]] for end in ends] == [["yes"], ["no"]]
