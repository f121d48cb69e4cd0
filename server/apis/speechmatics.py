"""Speechmatics' real-time API, ``/v2`` and ``/v2/{language}``: frames are acknowledged, words and marks come apart."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final as Constant

from server.apis.pcm import FloatSamples
from server.auth import Keyring
from server.bridge import BridgeDialect, Stage, audio_format
from server.dialect import Action, Audio, Event, Finalize, Ill, Open, Opened, Send, Upgrade
from server.errors import Refusal
from server.json_frames import Fields, objects, section, string, texts
from server.render import text_of
from server.routes import Route
from streaming.call import CallSpec, Encoding
from streaming.decoding import Word
from streaming.errors import BadMessage
from streaming.messages import MAX_HOTWORDS, MAX_NAME, language_of
from streaming.records import ALL_CHANNELS, UNTIMED, CallClosed, Final, Finalized, Partial, UtteranceEnded

FLOATS: Constant = "pcm_f32le"
ENCODINGS: Constant = {"pcm_s16le": Encoding.L16, "mulaw": Encoding.MULAW, FLOATS: Encoding.L16}
"""Encodings that may be declared; floats are made 16-bit."""

FORMAT: Constant = "2.1"
"""Version of the results' layout."""

ERRORS: Constant = {
    Ill.OVERLOADED: "quota_exceeded",
    Ill.IDLE: "timelimit_exceeded",
    Ill.START_TIMEOUT: "timelimit_exceeded",
    Ill.DRAINING: "job_error",
    Ill.INTERNAL: "job_error",
    Ill.SLOW_READER: "buffer_error",
    Ill.TOO_FAST: "buffer_error",
    "bad_audio": "data_error",
    "unknown_encoding": "invalid_audio_type",
    "unknown_sample_rate": "invalid_audio_type",
    "bad_option": "invalid_config",
    "not_allowed": "protocol_error",
}
"""Their words for what can go wrong; anything else is ``invalid_message``."""

_MARKS: Constant = re.compile(r"[.,!?;:]+$")
_ENDS: Constant = ".!?"
_MOST_TRIGGER_S: Constant = 60.0


def routes(keyring: Keyring, idle_s: float, models: Sequence[str] = ()) -> list[Route]:
    """Serve the protocol to callers with a key.

    Args:
        keyring: Knows the keys.
        idle_s: Seconds without a message after which a connection is closed.
        models: Names of the models served, the default one first.
    """

    def build(upgrade: Upgrade) -> SpeechmaticsDialect:
        tag = upgrade.captured.get("language", "auto")
        try:
            language_of("en" if tag == "auto" else tag)
        except BadMessage as problem:  # another protocol's address, or a typing error
            raise Refusal(404, "unknown_path", "nothing is served here; /v2 may be followed by a language") from problem
        return SpeechmaticsDialect(upgrade, models)

    return [Route(pattern, keyring.identify, build, idle_s) for pattern in ("/v2", "/v2/{language}")]


class SpeechmaticsDialect(BridgeDialect):
    """A session on one connection.

    Args:
        upgrade: The request behind the connection.
        models: Names of the models served; any other name means the default one.
    """

    name = "speechmatics"
    hangs_up_by_closing = True

    def __init__(self, upgrade: Upgrade, models: Sequence[str] = ()) -> None:
        super().__init__(upgrade)
        self._models = models
        self._partials = False
        self._floats: FloatSamples | None = None
        self._frames = 0
        self._finalizes = 0

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""
        done = super().deliver(event, now)
        if isinstance(event, Opened):
            about = {"word_delimiter": " ", "writing_direction": "left-to-right"}
            done.append(_send("RecognitionStarted", id=self.upgrade.request_id, language_pack_info=about))
        return done

    def act(self, fields: Fields) -> list[Action]:
        """Act on a control message."""
        kind = string(fields, "message")
        if kind == "StartRecognition" and self.stage is Stage.NEW:
            return self._start(fields)
        if self.stage is Stage.NEW or kind == "StartRecognition":
            raise BadMessage("not_allowed", "StartRecognition comes first, and once")
        match kind:
            case "EndOfStream":
                return self.finish()
            case "ForceEndOfUtterance":
                self._finalizes += 1
                return [Finalize(None, str(self._finalizes))]
            case "GetSpeakers":
                return [_send("SpeakersResult", speakers=[])]
            case "SetRecognitionConfig":
                text = "options cannot change during a session; send them in StartRecognition"
                return [_send("Warning", type="unsupported", reason=text)]
            case _:
                raise BadMessage("bad_message", "send audio, ForceEndOfUtterance or EndOfStream")

    def binary(self, payload: bytes) -> list[Action]:
        """Act on samples."""
        self._frames += 1
        if self._floats is not None:
            samples = self._floats.push(payload)
            heard: list[Action] = [Audio(ALL_CHANNELS, UNTIMED, samples)] if samples else []
        else:
            heard = self.interleaved(payload)
        return [*heard, _send("AudioAdded", seq_no=self._frames)]

    def told(self, event: Event) -> list[Action]:
        """Say what the call says."""
        match event:
            case Partial() if self._partials and event.words:
                return [Send(_transcript("AddPartialTranscript", event.words, event.start, event.language), "partial")]
            case Final():
                return [Send(_transcript("AddTranscript", event.words, event.words[0].start, event.language))]
            case UtteranceEnded():
                return [_utterance_end(event.last_word_end)]
            case Finalized():
                return [_utterance_end(0.0)]
            case CallClosed():
                return [_send("EndOfTranscript")]
            case _:
                return []

    def complaint(self, code: str, message: str) -> list[Action]:
        """Say what is wrong before the close."""
        return [_send("Error", type=ERRORS.get(code, "invalid_message"), reason=message)]

    def _start(self, fields: Fields) -> list[Action]:
        about = section(fields, "audio_format")
        config = section(fields, "transcription_config")
        if string(about, "type") != "raw":
            raise BadMessage("unknown_encoding", "send raw audio: audio_format.type must be raw")
        encoding = string(about, "encoding") or ""
        audio = audio_format(ENCODINGS, encoding, about.get("sample_rate"))
        self._floats = FloatSamples() if encoding == FLOATS else None
        self._partials = config.get("enable_partials") is True
        language = string(config, "language") or self.upgrade.captured.get("language")
        model = string(config, "model") or string(config, "operating_point")
        vocabulary = section(fields, "transcription_config")
        words = [*texts(vocabulary, "additional_vocab")]
        words += [string(entry, "content") or "" for entry in objects(vocabulary, "additional_vocab")]
        spec = CallSpec(
            call=self.upgrade.request_id,
            tenant=self.upgrade.tenant,
            audio=audio,
            labels=("speaker",),
            language=None if language in (None, "auto") else language_of(language),
            hotwords=tuple(_clean(word)[:MAX_NAME] for word in words if word)[:MAX_HOTWORDS],
            model=model if model in self._models else None,
            interim=self._partials,
            utterance_end_ms=_trigger_ms(section(config, "conversation_config")),
        )
        self.spec = spec
        return [Open(spec)]


def _trigger_ms(conversation: Fields) -> int | None:
    seconds = conversation.get("end_of_utterance_silence_trigger")
    if seconds is None or seconds == 0:
        return None
    if isinstance(seconds, int | float) and 0 < seconds <= _MOST_TRIGGER_S:
        return round(seconds * 1000)
    raise BadMessage("bad_option", f"end_of_utterance_silence_trigger must be 0 to {_MOST_TRIGGER_S:g} seconds")


def _transcript(kind: str, words: Sequence[Word], start: float, language: str) -> str:
    results = [result for word in words for result in _results(word, language)]
    about = {
        "transcript": f"{text_of(tuple(words))} ",
        "start_time": round(start, 3),
        "end_time": round(words[-1].end, 3),
    }
    return json.dumps({"message": kind, "format": FORMAT, "metadata": about, "results": results}, separators=(",", ":"))


def _results(word: Word, language: str) -> list[dict[str, object]]:
    """Take a word and its marks apart."""
    marks = _MARKS.search(word.text)
    spoken = word.text[: marks.start()] if marks else word.text
    found: list[dict[str, object]] = []
    if spoken:
        found.append({"type": "word", **_result(spoken, word, word.start, language)})
    for mark in marks[0] if marks else "":
        about = _result(mark, word, word.end, language)
        found.append({"type": "punctuation", **about, "attaches_to": "previous", "is_eos": mark in _ENDS})
    return found


def _result(text: str, word: Word, start: float, language: str) -> dict[str, object]:
    alternative = {"content": text, "confidence": round(word.confidence, 4), "language": language}
    return {"start_time": round(start, 3), "end_time": round(word.end, 3), "alternatives": [alternative]}


def _utterance_end(at: float) -> Send:
    return _send("EndOfUtterance", metadata={"start_time": round(at, 3), "end_time": round(at, 3)})


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode()


def _send(kind: str, **fields: object) -> Send:
    return Send(json.dumps({"message": kind, **fields}, separators=(",", ":")))
