"""How records are written as the values of log entries, and read back.

A value is one kind byte, then a body: audio chunks are packed (they are most of the traffic), all else is JSON.

Versions work side by side while a cluster is upgraded, so a reader refuses kinds it does not know and passes over
fields it does not know. Whoever changes a record keeps to three rules: a kind is never used for another meaning; a new
field has a default that says what its absence meant; what a reader must not pass over is a new kind.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import types
import typing
from typing import Any

from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.decoding import Word
from streaming.errors import BadRecord
from streaming.records import (
    AudioChunk,
    CallClosed,
    CallEnded,
    CallKept,
    CallOpened,
    CallPlaced,
    CallRemoved,
    CallResumed,
    CallStarted,
    CallState,
    Claim,
    ClockState,
    Dtmf,
    DtmfReceived,
    EndReason,
    Fence,
    Final,
    Finalized,
    FinalizeRequested,
    Heartbeat,
    Lease,
    Partial,
    PauseChanged,
    Paused,
    Progress,
    QualityChanged,
    Record,
    Resumed,
    SideProgress,
    Snapshot,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
)

_KINDS: typing.Final[dict[int, type[Any]]] = {
    1: CallOpened,
    2: AudioChunk,
    3: FinalizeRequested,
    4: CallEnded,
    5: DtmfReceived,
    6: CallResumed,
    7: CallKept,
    8: PauseChanged,
    16: Fence,
    17: Final,
    18: Progress,
    19: SpeechStarted,
    20: SpeechEnded,
    21: UtteranceEnded,
    22: Finalized,
    23: QualityChanged,
    24: CallClosed,
    25: Dtmf,
    26: CallStarted,
    27: Resumed,
    28: Paused,
    32: Partial,
    48: CallPlaced,
    49: CallRemoved,
    64: Claim,
    65: Heartbeat,
    66: Lease,
    67: Snapshot,
}
_KIND_OF: typing.Final = {cls: kind for kind, cls in _KINDS.items()}
T = typing.TypeVar("T")

_PARTS: typing.Final = (Word, CallSpec, AudioFormat, SideProgress, ClockState, CallState)
_CHUNK: typing.Final = struct.Struct("<BBHIqq")  # kind, channel, bytes of the call id, connection, sequence, position


def encode(record: Record) -> bytes:
    """Write a record as the value of a log entry."""
    if isinstance(record, AudioChunk):
        call = record.call.encode()
        kind = _KIND_OF[AudioChunk]
        head = _CHUNK.pack(kind, record.channel, len(call), record.connection, record.sequence, record.position)
        return head + call + record.payload
    body = json.dumps(dataclasses.asdict(record), separators=(",", ":"), ensure_ascii=False)
    return bytes([_KIND_OF[type(record)]]) + body.encode()


def decode(value: bytes) -> Record:
    """Read a record back.

    Raises:
        BadRecord: If the kind is unknown or the body does not fit it.
    """
    kind = value[0] if value else 0
    cls = _KINDS.get(kind)
    if cls is None:
        raise BadRecord(f"record kind {kind} is not known to this version")
    try:
        if cls is AudioChunk:
            _, channel, length, connection, sequence, position = _CHUNK.unpack_from(value)
            at = _CHUNK.size + length
            if at > len(value):
                raise BadRecord("an AudioChunk record cannot be read: it ends within the call's id")
            return AudioChunk(value[_CHUNK.size : at].decode(), sequence, channel, position, value[at:], connection)
        return typing.cast("Record", _restore(cls, json.loads(value[1:])))
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as problem:
        raise BadRecord(f"a {cls.__name__} record cannot be read: {type(problem).__name__}") from problem


def kind_of(value: bytes) -> type[Record] | None:
    """Tell what a record is, though it may not be readable; None for a kind that this version does not know."""
    return _KINDS.get(value[0]) if value else None


def _types(hint: Any) -> frozenset[type]:
    if hint is float:
        return frozenset({float, int})
    if isinstance(hint, types.UnionType):
        return frozenset[type]().union(*(_types(option) for option in typing.get_args(hint)))
    return frozenset({typing.get_origin(hint) or hint})


_FIELDS: typing.Final[dict[type[Any], dict[str, frozenset[type]]]] = {
    cls: {name: _types(hint) for name, hint in typing.get_type_hints(cls).items()}
    for cls in (*_KINDS.values(), *_PARTS)
}


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return typing.cast("dict[str, Any]", value)


def _made(cls: type[T], fields: Any) -> T:
    """Fill a dataclass; a field of another type than it says would fail far from here, in a session."""
    known = {name: value for name, value in _object(fields).items() if name in _FIELDS[cls]}
    for name, value in known.items():
        if type(value) not in _FIELDS[cls][name]:
            raise TypeError(name)
    return cls(**known)


def _restore(cls: type[Any], body: Any) -> Any:
    fields = _object(body)
    if "words" in fields:
        fields["words"] = tuple(_made(Word, word) for word in fields["words"])
    if "labels" in fields:
        fields["labels"] = tuple(fields["labels"])
    if "reason" in fields and cls is Final:
        fields["reason"] = _reason(fields["reason"])
    if cls is CallOpened or cls is CallPlaced:
        fields["spec"] = _restore_spec(fields["spec"])
    if cls is Resumed:
        fields["heard"] = tuple(fields["heard"])
    if cls is Heartbeat:
        fields["slots"] = tuple(fields["slots"])
        fields["busy"] = tuple(fields.get("busy", ()))
    if cls is Snapshot:
        fields["progress"] = tuple(_made(SideProgress, side) for side in fields["progress"])
        fields["closed"] = tuple(fields["closed"])
        fields["calls"] = tuple(_restore_call(call) for call in fields["calls"])
    return _made(cls, fields)


def _reason(value: Any) -> EndReason:
    """A final counts whatever ended it: a reason of a newer version must not make a hole in the transcript."""
    if not isinstance(value, str):
        raise TypeError
    return EndReason(value) if value in EndReason.__members__.values() else EndReason.ENDPOINT


def _restore_call(body: Any) -> CallState:
    fields = _object(body)
    fields["spec"] = _restore_spec(fields["spec"])
    fields["clocks"] = tuple(_made(ClockState, clock) for clock in fields["clocks"])
    return _made(CallState, fields)


def _restore_spec(body: Any) -> CallSpec:
    fields = _object(body)
    audio = _object(fields["audio"])
    fields["audio"] = _made(AudioFormat, audio | {"encoding": Encoding(audio["encoding"])})
    fields["labels"] = tuple(fields["labels"])
    fields["hotwords"] = tuple(fields["hotwords"])
    return _made(CallSpec, fields)
