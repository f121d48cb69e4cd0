"""What may be believed of what a model wrote. Pure: tokens and numbers in, verdicts out.

Whisper was trained on 30 s. Given a shorter window it writes the right words and often does not stop: it says them
again, in the same segment until it is stopped, or in further segments with times behind the end of the audio. So its
timestamps are read as statements about the audio; text is taken up to the segment that ends where the audio does; and
what says again what was said, faster than anybody speaks, is dropped.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["NOTHING", "Reading", "Segment", "Symbols", "cap", "is_leak", "is_speech", "read", "spoken", "spread"]

STEP_S: Final = 0.02
"""Seconds between two of Whisper's timestamps."""

END_SLACK_S: Final = 0.1
"""A segment that ends this close to the end of the audio ends with it."""

OVERRUN_S: Final = 0.6
"""A segment said to end this far behind the end of the audio was written by a model that had lost its place."""

TOKENS_PER_S: Final = 5.0
"""Tokens a second that a decode is given room for; people say about 4."""

SPARE_TOKENS: Final = 10
"""Tokens beyond that: timestamps, and short windows that are all speech."""

FASTEST_CPS: Final = 25.0
"""Letters a second that nobody exceeds; quick speech has 20."""

SLOWEST_CPS: Final = 4.0
"""Letters a second below which text has left out some of what was said, where it had to be cut."""

ECHO: Final = 3
"""Pieces that must be the same before the end of a text counts as said before."""

TWICE_WORDS: Final = 2
TWICE_LETTERS: Final = 12
"""What is said twice in a row makes a text doubtful if it is at least so long; digits and spelt names repeat less."""

HASTY_CPS: Final = 20.0
"""Letters a second from which a text is doubtful: few people speak so fast, and a text said twice has more."""

COMPRESSIBLE: Final = 2.4
"""Text that deflates by more than this repeats itself (the threshold Whisper itself uses)."""

UNTIMED: Final = 3
"""Words without any time at the end of a text from which they are an echo, if they were all said before. Digits come
twice in a row more often than phrases do, and only this tells those that were said from those that were not."""

UNREAD_S: Final = 0.4
"""Shortest stretch behind the last timestamp that is worth another look."""

NOTHING: Final = -10.0
"""log10 mel power of digital silence."""

SILENCE: Final = 0.6
"""Probability of silence from which text must be sure to be believed."""

SURE: Final = -0.8
"""Mean log probability of sure text."""

NOBODY: Final = 0.8
"""Probability of silence from which words must be likely by themselves: of a short text most tokens are timestamps, and
a model can be sure of these whatever it heard."""

LIKELY: Final = 0.5
"""Mean probability of such words."""

CLEAR: Final = 0.9
"""Voice activity, 0..1, from which the model's probability of silence counts half: of one short word it says little."""

FEW: Final = 2
"""Words of a text that a sneeze may be taken for: in a voice that is not clear, each of them must be likely."""

SOMEBODY: Final = 0.2
"""Probability of silence up to which the model itself is certain that somebody speaks."""

UNSURE: Final = (-2.2, 2.0)
"""Text is not believed if its mean log probability is below the first plus the second times that of silence."""

_PIECE: Final = re.compile(r"\w+")
_SPOKEN_SIGN: Final = re.compile(r"\s*[%$€£#&@+=]")
_SENTENCE_END: Final = re.compile(r"[.?!]")


@dataclass(frozen=True, slots=True)
class Symbols:
    """What tokens mean, as far as the guards need to know."""

    eot: int
    """First token that is not text."""
    timestamp_begin: int
    """Token of 0.00 s; all from here on are timestamps."""
    text: Callable[[Sequence[int]], str]
    """Spells text tokens."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text between two timestamps."""

    start: float
    """Seconds from the window's start."""
    end: float
    """Seconds from the window's start, not past its end."""
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model wrote about the audio it was given."""

    segments: tuple[Segment, ...]
    sound: bool = True
    """False where what is left after all cuts is not to be trusted: the window should be decoded in another way."""
    doubtful: bool = False
    """True where words are said twice in a row, or very fast: people do that, and so do models given short windows."""
    unread_from: float | None = None
    """Where the model said that more follows and then stopped, in seconds from the window's start."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """All text tokens."""
        return tuple(token for segment in self.segments for token in segment.tokens)


def cap(audio_s: float) -> int:
    """Tokens that a decode of so many seconds may write."""
    return round(SPARE_TOKENS + TOKENS_PER_S * audio_s)


def read(tokens: Sequence[int], symbols: Symbols, *, audio_s: float, finished: bool) -> Reading:
    """Read what a model wrote, up to the end of the audio and without what it said twice.

    Args:
        tokens: As generated, timestamps among them.
        symbols: What they mean.
        audio_s: Seconds of audio in the window, without its padding.
        finished: Whether the model ended by itself, and not at the cap.
    """
    segments, ended, lost, unread = _segments(tokens, symbols, audio_s, finished)
    if not lost:
        kept = _without_echoes(segments, symbols, audio_s)
        text = _spell(kept, symbols)
        return Reading(tuple(kept), not _is_looping(text), _is_doubtful(text, audio_s), unread)
    spelled = _spell(segments, symbols)
    said = _before_echo(spelled, whole=ended)
    kept = _without_echoes(_first_letters(segments, symbols, said), symbols, audio_s)
    text = _spell(kept, symbols)
    ended = ended or len(text) < len(spelled)
    sound = ended and len(text) >= SLOWEST_CPS * (audio_s - 1) and not _is_looping(text)
    return Reading(tuple(kept), sound, _is_doubtful(text, audio_s))


def _segments(
    tokens: Sequence[int], symbols: Symbols, audio_s: float, finished: bool
) -> tuple[list[Segment], bool, bool, float | None]:
    """Split at timestamps.

    Returns:
        Segments that begin within the audio; whether the last is whole; whether the model had lost its place; where
        what it left unread begins.
    """
    segments: list[Segment] = []
    start, text, stamped = 0.0, list[int](), 0
    for token in tokens:
        if token < symbols.eot:
            text.append(token)
            stamped = 0
        elif token >= symbols.timestamp_begin:
            at = (token - symbols.timestamp_begin) * STEP_S
            stamped += 1
            if text:
                segments.append(Segment(min(start, audio_s), min(max(at, start), audio_s), tuple(text)))
                text = []
                if at >= audio_s - END_SLACK_S:
                    return segments, True, at > audio_s + OVERRUN_S, None
            start = at
    if text and start < audio_s:
        segments.append(Segment(start, audio_s, tuple(text)))
        return segments, finished, True, None
    said_more = stamped > 1 and audio_s - start > UNREAD_S
    return segments, True, not finished, start if said_more else None


def _without_echoes(segments: Sequence[Segment], symbols: Symbols, audio_s: float) -> list[Segment]:
    """Drop segments that say what was said before them, faster than it can be said."""
    kept: list[Segment] = []
    said: list[str] = []
    for segment in segments:
        spelled = symbols.text(segment.tokens)
        pieces = _PIECE.findall(spelled.lower())
        room = max(min(segment.end, audio_s) - segment.start, STEP_S)
        hasty = len(spelled) > FASTEST_CPS * room
        if hasty and len(pieces) > 1 and _contains(said, pieces):
            continue
        kept.append(segment)
        said += pieces
    return kept


def _contains(whole: Sequence[str], part: Sequence[str]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def _before_echo(text: str, *, whole: bool) -> int:
    """Letters of a text before it begins to say, up to its end, what it said right before.

    Args:
        text: All of it.
        whole: False if its last word may have been cut short.
    """
    found = list(_PIECE.finditer(text.lower()))
    if not found:
        sign = _SPOKEN_SIGN.match(text)
        return sign.end() if sign else 0
    pieces = [piece.group() for piece in (found if whole else found[:-1])]
    best = len(pieces), 0
    for period in range(1, len(pieces)):
        same = 0
        while same < len(pieces) - period and pieces[-1 - same] == pieces[-1 - same - period]:
            same += 1
        if same >= min(max(period, 2), ECHO):
            best = min(best, (len(pieces) - same, period))
    kept, period = best
    if kept == len(pieces):
        return _closed(text, found[-1].end())
    # an echo may begin in the middle of the sentence that comes back: what is there of its first half was said before
    sentences = [at for at in range(1, kept + 1) if _SENTENCE_END.search(text, found[at - 1].end(), found[at].start())]
    if sentences and kept - sentences[-1] < period:
        kept = sentences[-1]
    return _closed(text, found[kept - 1].end())


def _closed(text: str, end: int) -> int:
    """The end of a word, or of the mark that closes it; an ellipsis does not."""
    mark = _SENTENCE_END.match(text, end)
    return mark.end() if mark and not text.startswith("..", end) else end


def _first_letters(segments: Sequence[Segment], symbols: Symbols, count: int) -> list[Segment]:
    """Keep the tokens that spell the first letters."""
    kept: list[Segment] = []
    for segment in segments:
        tokens = list(segment.tokens)
        while tokens and len(symbols.text(tokens)) > count:
            tokens.pop()
        if tokens:
            kept.append(Segment(segment.start, segment.end, tuple(tokens)))
        count -= len(symbols.text(segment.tokens))
        if count <= 0:
            break
    return kept


def _spell(segments: Sequence[Segment], symbols: Symbols) -> str:
    return "".join(symbols.text(segment.tokens) for segment in segments)


def _is_looping(text: str) -> bool:
    """Tell whether a text repeats itself over and over."""
    raw = text.encode()
    return len(raw) > COMPRESSIBLE * len(zlib.compress(raw))


def _is_doubtful(text: str, audio_s: float) -> bool:
    """Tell whether a text may say more than was said."""
    if len(text) > HASTY_CPS * audio_s:
        return True
    pieces = _PIECE.findall(text.lower())
    for length in range(TWICE_WORDS, len(pieces) // 2 + 1):
        for at in range(len(pieces) - 2 * length + 1):
            again = pieces[at : at + length]
            if again == pieces[at + length : at + 2 * length] and sum(map(len, again)) >= TWICE_LETTERS:
                return True
    return False


def is_speech(no_speech: float, mean_logprob: float, confidences: Sequence[float], voice: float) -> bool:
    """Tell whether text is to be believed at all.

    Args:
        no_speech: Probability of silence, as the model says.
        mean_logprob: Of the tokens it wrote, timestamps among them.
        confidences: Of its words, 0..1 each.
        voice: How surely somebody speaks, as voice activity says, 0..1.
    """
    if voice >= CLEAR:
        no_speech /= 2
    elif 0 < len(confidences) <= FEW and no_speech > SOMEBODY and mean_logprob < SURE and min(confidences) < LIKELY:
        return False
    if no_speech > SILENCE and mean_logprob < SURE:
        return False
    if no_speech > NOBODY and sum(confidences) < LIKELY * len(confidences):
        return False
    return mean_logprob >= UNSURE[0] + UNSURE[1] * no_speech


def is_leak(text: str, hotwords: Sequence[str]) -> bool:
    """Tell whether a text is nothing but hotwords: they may have been said, or only been asked for."""
    heard = _PIECE.findall(text.lower())
    asked = {piece for hotword in hotwords for piece in _PIECE.findall(hotword.lower())}
    return bool(heard) and all(piece in asked for piece in heard)


def spoken(words: Sequence[str], times: Sequence[tuple[float, float]]) -> int:
    """Count the first words that somebody said, and not only a model that could not stop.

    An alignment gives each word its audio, in order. Where a text goes on after the audio, nothing is left for the rest
    of it: its words all lie in one instant.

    Args:
        words: As written.
        times: Begin and end of each, in seconds.
    """
    timed = len(words)
    while timed and times[timed - 1][1] - times[timed - 1][0] < STEP_S / 2:
        timed -= 1
    said = {piece for word in words[:timed] for piece in _PIECE.findall(word.lower())}
    rest = {piece for word in words[timed:] for piece in _PIECE.findall(word.lower())}
    return timed if len(words) - timed >= UNTIMED and rest <= said else len(words)


def spread(words: Sequence[str], start: float, end: float) -> list[tuple[float, float]]:
    """Give words of a segment their times: each as long as it has characters.

    Args:
        words: At least one character each.
        start: Of the segment, in seconds.
        end: Of the segment, in seconds.
    """
    total = sum(len(word) for word in words)
    times: list[tuple[float, float]] = []
    done = 0
    for word in words:
        begin = start + (end - start) * done / total
        done += len(word)
        times.append((begin, start + (end - start) * done / total))
    return times
