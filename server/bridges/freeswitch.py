"""FreeSWITCH: mod_audio_fork, ``/bridges/audio-fork``, and mod_audio_stream, ``/bridges/audio-stream``.

Raw samples, one or two channels interleaved. A text frame before them may say what they are, or anything at all; what
it does not say, the address does: ``?rate=16000&mix=stereo``. Text goes back as events of the module, if asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from server.bridge import BridgeDialect, Stage, Transcripts, audio_format, call_spec, scalars, transcripts_of
from server.dialect import Action, Dialect, Event, Send, Upgrade
from server.json_frames import Fields, json_object, string
from server.render import confidence_of, text_of
from streaming.call import CallSpec, Encoding
from streaming.errors import BadMessage
from streaming.records import Final as FinalText
from streaming.records import Partial

LABELS: Final = {"mono": ("caller",), "mixed": ("mixed",), "stereo": ("caller", "callee")}
"""What the channels of each mix are; the module puts its own leg first."""

_L16: Final = {"l16": Encoding.L16}
_ABOUT_AUDIO: Final = frozenset({"sampleRate", "mixType", "rate", "mix", "transcripts"})


class ForkDialect(BridgeDialect):
    """One leg, or both, on one connection; this is mod_audio_fork.

    Args:
        upgrade: The request behind the connection.
        transcripts: What of the text goes back.
    """

    name = "audio_fork"
    hangs_up_by_closing = True
    ends_with_empty_frame = True
    """Whether an empty binary frame says that no more audio comes and that the text is waited for."""

    def __init__(self, upgrade: Upgrade, transcripts: Transcripts = Transcripts.FINALS) -> None:
        super().__init__(upgrade)
        self._transcripts = transcripts

    def text(self, message: str) -> list[Action]:
        """Act on a text frame: the first, before any audio, is the call's metadata; others tell of keys, or nothing."""
        fields = json_object(message)
        if self.stage is not Stage.NEW or self.spec is not None:
            return self.pressed(fields.get("dtmf")) if fields is not None and fields.get("event") == "dtmf" else []
        return self.open(self._spec_of(fields if fields is not None else {"metadata": message}))

    def binary(self, payload: bytes) -> list[Action]:
        """Act on samples; where no metadata came, they begin the call."""
        if not payload:
            return self.finish() if self.ends_with_empty_frame else []
        begin = [] if self.spec is not None else self.open(self._spec_of({}))
        return [*begin, *self.interleaved(payload)]

    def told(self, event: Event) -> list[Action]:
        """Pass text on where it is wanted."""
        match event:
            case Partial() if self._transcripts is Transcripts.ALL and event.words:
                return [self._transcription(event, is_final=False)]
            case FinalText() if self._transcripts is not Transcripts.NONE:
                return [self._transcription(event, is_final=True)]
            case _:
                return []

    def complaint(self, code: str, message: str) -> list[Action]:
        """Say what is wrong, where anything is read."""
        if self._transcripts is Transcripts.NONE:
            return []
        return [Send(json.dumps({"type": "error", "data": {"code": code, "message": message}}))]

    def call_of(self, metadata: Fields) -> tuple[str | None, dict[str, str | None]]:
        """Return the bridge's id of the call, and all its ids."""
        del metadata
        return None, {}

    def _spec_of(self, metadata: Fields) -> CallSpec:
        asked = {name: value for name, value in self.upgrade.query if name in _ABOUT_AUDIO}
        mix = string(metadata, "mixType") or asked.get("mix", "mono")
        if mix not in LABELS:
            raise BadMessage("bad_channels", f"send one of {', '.join(LABELS)}")
        rate = metadata.get("sampleRate", asked.get("rate", "8000"))
        audio = audio_format(_L16, "l16", str(rate).replace("k", "000"), len(LABELS[mix]))
        given = {name: value for name, value in scalars(metadata).items() if name not in _ABOUT_AUDIO}
        call, ids = self.call_of(metadata)
        without = Upgrade(
            self.upgrade.tenant,
            self.upgrade.request_id,
            self.upgrade.path,
            tuple(pair for pair in self.upgrade.query if pair[0] not in _ABOUT_AUDIO),
        )
        return call_spec(without, audio, LABELS[mix], call=call, given=given, ids=ids)

    @staticmethod
    def _transcription(text: Partial | FinalText, *, is_final: bool) -> Send:
        data = {
            "is_final": is_final,
            "transcript": text_of(text.words),
            "confidence": round(confidence_of(text.words), 4),
            "channel": text.channel,
            "start": round(text.words[0].start, 3),
            "end": round(text.words[-1].end, 3),
            "language": text.language,
        }
        replaces = None if is_final else f"partial {text.channel}"
        return Send(json.dumps({"type": "transcription", "data": data}), replaces)


class StreamDialect(ForkDialect):
    """mod_audio_stream: whatever text it gets becomes an event; an empty frame means nothing."""

    name = "audio_stream"
    ends_with_empty_frame = False


def builder(dialect: Callable[[Upgrade, Transcripts], Dialect], default: Transcripts) -> Callable[[Upgrade], Dialect]:
    """Return what makes a dialect whose transcripts the address chooses."""
    return lambda upgrade: dialect(upgrade, transcripts_of(upgrade, default))
