"""What the outside is told of a call, as JSON documents: one shape for webhooks and for the public topic. Pure.

``docs/transcripts.schema.json`` describes the documents; a document that is told twice has the same ``id``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from server.render import confidence_of, text_of
from streaming.records import FINAL_LOST, CallClosed, CallStarted, Final, OutRecord, Partial, QualityChanged

VERSION = 1
"""Of the documents; more fields may come within a version, none goes or changes its meaning."""


class Kind(StrEnum):
    """What a document tells."""

    STARTED = "call_started"
    PARTIAL = "partial"
    FINAL = "final"
    ENDED = "call_ended"


@dataclass(frozen=True, slots=True)
class Document:
    """One thing that happened to a call."""

    kind: Kind
    call: str
    tenant: str
    """Empty where the output does not say whose call it is."""
    id: str
    body: Mapping[str, object]

    def json(self) -> bytes:
        """Write it down."""
        head = {"version": VERSION, "type": self.kind, "id": self.id, "call": self.call, "tenant": self.tenant}
        return json.dumps(head | dict(self.body), separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(slots=True)
class _Call:
    start: CallStarted | None = None
    finals: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    lost: int = 0


class Documents:
    """Turns the records of a slot that count into documents, in order.

    Args:
        transcripts: Whether the end of a call carries everything that was said.
    """

    def __init__(self, *, transcripts: bool) -> None:
        self._transcripts = transcripts
        self._calls: dict[str, _Call] = {}

    def of(self, record: OutRecord | Partial) -> Document | None:
        """Return the document of a record, or None for what the outside is not told."""
        match record:
            case CallStarted():
                self._calls.setdefault(record.call, _Call()).start = record
                return self._document(Kind.STARTED, record.call, "started", {"labels": list(record.labels)})
            case Partial():
                return self._partial(record)
            case Final():
                return self._final(record)
            case QualityChanged(_, call, _, reason) if reason == FINAL_LOST:
                self._calls.setdefault(call, _Call()).lost += 1
                return None
            case CallClosed():
                return self._ended(record)
            case _:
                return None

    def _partial(self, partial: Partial) -> Document:
        body = {
            "channel": partial.channel,
            "label": self._label(partial.call, partial.channel),
            "number": partial.number,
            "revision": partial.revision,
            "start": partial.start,
            "end": partial.end,
            "text": text_of(partial.words),
            "stable": partial.stable,
            "language": partial.language,
            "model": partial.model,
        }
        place = f"{partial.channel}/{partial.number}/{partial.revision}"
        return self._document(Kind.PARTIAL, partial.call, place, body)

    def _final(self, final: Final) -> Document:
        said: dict[str, object] = {
            "channel": final.channel,
            "label": self._label(final.call, final.channel),
            "number": final.number,
            "start": final.words[0].start,
            "end": final.words[-1].end,
            "text": text_of(final.words),
        }
        self._calls.setdefault(final.call, _Call()).finals.append(said)
        body = said | {
            "words": [dataclasses.asdict(word) for word in final.words],
            "confidence": round(confidence_of(final.words), 4),
            "language": final.language,
            "model": final.model,
            "reason": final.reason,
            "speech_end": final.speech_end,
            "latency_s": final.latency_s,
        }
        return self._document(Kind.FINAL, final.call, f"{final.channel}/{final.number}", body)

    def _ended(self, closed: CallClosed) -> Document:
        call = self._calls.get(closed.call, _Call())
        body: dict[str, object] = {
            "reason": closed.reason,
            "audio_s": closed.audio_s,
            "padded_s": closed.padded_s,
            "finals": len(call.finals),
            "lost": call.lost,
        }
        if self._transcripts:
            body["transcript"] = sorted(call.finals, key=lambda said: (said["start"], said["channel"]))
        document = self._document(Kind.ENDED, closed.call, "ended", body)
        self._calls.pop(closed.call, None)
        return document

    def _document(self, kind: Kind, call: str, place: str, body: Mapping[str, object]) -> Document:
        known = self._calls.get(call)
        start = known.start if known is not None else None
        told = {} if start is None else {"protocol": start.protocol, "opened_at": start.opened_at}
        return Document(kind, call, start.tenant if start else "", f"{call}/{place}", {**told, **body})

    def _label(self, call: str, channel: int) -> str:
        known = self._calls.get(call)
        labels = known.start.labels if known is not None and known.start is not None else ()
        return labels[channel] if channel < len(labels) else f"channel {channel}"
