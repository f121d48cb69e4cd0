"""What AudioHook's messages are made of: media, durations, transcripts."""

from __future__ import annotations

import re
import uuid
from typing import Final

from server.json_frames import Fields, string, texts
from server.render import confidence_of, text_of
from streaming.call import Encoding
from streaming.records import Final as FinalText
from streaming.records import Partial

RATE: Final = 8000
"""Hz; the protocol has no other."""
ENCODINGS: Final = {"pcmu": Encoding.MULAW, "l16": Encoding.L16}

_DURATION: Final = re.compile(r"PT(\d{1,9}(?:\.\d{1,12})?)S")


def best_of(offered: list[Fields]) -> Fields:
    """Choose from the media offered: both sides rather than one, mu-law rather than PCM; empty if nothing fits."""
    fitting = [media for media in offered if _fits(media)]
    nothing: Fields = {}
    return max(
        fitting, key=lambda media: (len(texts(media, "channels")), media.get("format") == "PCMU"), default=nothing
    )


def _fits(media: Fields) -> bool:
    known = (string(media, "format") or "").lower() in ENCODINGS
    return known and media.get("rate") == RATE and len(texts(media, "channels")) in (1, 2)


def seconds_of(stated: object) -> float | None:
    """Read a duration such as PT1.5S; None if it is none."""
    found = _DURATION.fullmatch(stated) if isinstance(stated, str) else None
    return float(found[1]) if found is not None else None


def duration(seconds: float) -> str:
    """Write a duration."""
    return f"PT{max(0.0, seconds):.3f}".rstrip("0").removesuffix(".") + "S"


def transcript(text: FinalText | Partial, session: str, language: str, *, is_final: bool) -> dict[str, object]:
    """Return the data of a transcript; partials and the final of one utterance share its id.

    Args:
        text: With at least one word.
        session: The session's id.
        language: As the peer named it, or as it was found.
        is_final: Whether it never changes.
    """
    utterance = uuid.uuid5(uuid.NAMESPACE_OID, f"{session}/{text.channel}/{text.number}")
    tokens = [
        {
            "type": "word",
            "value": word.text,
            "confidence": round(word.confidence, 4),
            "offset": duration(word.start),
            "duration": duration(word.end - word.start),
        }
        for word in text.words
    ]
    return {
        "id": str(utterance),
        "channelId": text.channel,
        "isFinal": is_final,
        "offset": duration(text.words[0].start),
        "duration": duration(text.words[-1].end - text.words[0].start),
        "alternatives": [
            {
                "confidence": round(confidence_of(text.words), 4),
                "languages": [language.lower()],
                "interpretations": [{"type": "display", "transcript": text_of(text.words), "tokens": tokens}],
            }
        ],
    }
