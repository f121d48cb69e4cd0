"""What one channel writes: partials and finals, in order, numbered and timed on the call's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streaming.agreement import Agreement
from streaming.call import SAMPLE_RATE, CallSpec
from streaming.decoding import Hypothesis, Word
from streaming.records import (
    FINAL_LOST,
    EndReason,
    Finalized,
    OutRecord,
    Partial,
    Progress,
    QualityChanged,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
)
from streaming.records import Final as FinalRecord
from streaming.reducer import ChannelProgress

PROGRESS_SAMPLES: Final = 10 * SAMPLE_RATE
"""Audio without words after which progress is written, so that a new owner of the slot need not replay it."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Audio that a final accounts for; positions are samples at 16 kHz."""

    start: int
    """Where its window begins."""
    end: int
    """Where its window ends."""
    speech_end: int
    """Where the speaker stopped."""


class Scribe:
    """Writes the records of one channel.

    Args:
        index: The channel's number.
        spec: The call it belongs to.
        epoch: Of the owner.
        progress: How far the channel is final already.
        pin_language_from: Confidence, 0..1, from which a language detected on a final is kept.
    """

    def __init__(
        self, index: int, spec: CallSpec, epoch: int, progress: ChannelProgress, pin_language_from: float
    ) -> None:
        detected = progress.language if progress.language_confidence >= pin_language_from else None
        self.language = spec.language or detected
        """Given, or detected and kept; None until then."""
        self.context = progress.context
        """Text of the last final."""
        self.done_to = progress.done_to
        """Samples at 16 kHz that are final."""
        self._index = index
        self._call = spec.call
        self._epoch = epoch
        self._number = progress.next_number
        self._pin_language_from = pin_language_from
        self._utterance_end_s = None if spec.utterance_end_ms is None else spec.utterance_end_ms / 1000
        self._agreement = Agreement()
        self._revision = 0
        self._shown = False  # whether a partial of the next final's number is to be seen
        self._last_word_end: float | None = None

    def speech_started(self, at: int) -> SpeechStarted:
        """A speaker began at this sample."""
        return SpeechStarted(self._epoch, self._call, self._index, at / SAMPLE_RATE)

    def speech_ended(self, at: int) -> SpeechEnded:
        """A speaker stopped at this sample."""
        return SpeechEnded(self._epoch, self._call, self._index, at / SAMPLE_RATE)

    def finalized(self, marker: str) -> Finalized:
        """Everything before the caller's request is written."""
        return Finalized(self._epoch, self._call, self._index, marker)

    def open_utterance(self) -> None:
        """The next partials are of new speech."""
        self._agreement = Agreement()

    def partial(self, hypothesis: Hypothesis, start: int, end: int, *, show: bool) -> list[Partial]:
        """Take the newest hypothesis of the open utterance.

        Args:
            hypothesis: Of the window from ``start`` to ``end``.
            start: First sample of the window.
            end: Sample behind the window.
            show: Whether it may be seen yet; finals of earlier speech come first.
        """
        words = self._agreement.update(_timed(hypothesis.words, start, end))
        if not (show and words):
            return []
        self._shown = True
        return [self._partial(words, self._agreement.stable, start, end, hypothesis)]

    def conclude(
        self, hypothesis: Hypothesis, stretch: Stretch, reason: EndReason, latency_s: float
    ) -> list[OutRecord | Partial]:
        """Write the final of a stretch; progress, and the end of any partial shown, where nothing was said.

        A hypothesis that no model wrote stands for text that is lost; the caller is told.
        """
        words = _timed(hypothesis.words, stretch.start, stretch.end)
        came_from, self.done_to = self.done_to, stretch.end
        if not words:
            written: list[OutRecord | Partial] = [
                Progress(self._epoch, self._call, self._index, came_from, stretch.end)
            ]
            if not hypothesis.model:
                written.append(QualityChanged(self._epoch, self._call, "", FINAL_LOST))
            if self._shown:
                self._shown = False
                written.append(self._partial((), 0, stretch.start, stretch.end, hypothesis))
            return written
        if self.language is None and hypothesis.language_confidence >= self._pin_language_from:
            self.language = hypothesis.language
        self.context = hypothesis.text
        self._last_word_end = words[-1].end
        number, self._number = self._number, self._number + 1
        self._revision = 0
        self._shown = False
        return [
            FinalRecord(
                epoch=self._epoch,
                call=self._call,
                channel=self._index,
                number=number,
                from_sample=came_from,
                to_sample=stretch.end,
                words=words,
                language=hypothesis.language,
                language_confidence=hypothesis.language_confidence,
                model=hypothesis.model,
                reason=reason,
                speech_end=stretch.speech_end / SAMPLE_RATE,
                latency_s=latency_s,
            )
        ]

    def silence(self, quiet_to: int, heard_to: int) -> list[OutRecord]:
        """Nobody speaks and no final is owed: report an utterance's end the caller asked for, and progress.

        Args:
            quiet_to: Sample up to which no later window will reach back.
            heard_to: Sample up to which audio was judged.
        """
        written: list[OutRecord] = []
        gap_s, last = self._utterance_end_s, self._last_word_end
        if gap_s is not None and last is not None and heard_to / SAMPLE_RATE - last >= gap_s:
            self._last_word_end = None
            written.append(UtteranceEnded(self._epoch, self._call, self._index, last))
        if quiet_to - self.done_to >= PROGRESS_SAMPLES:
            came_from, self.done_to = self.done_to, quiet_to
            written.append(Progress(self._epoch, self._call, self._index, came_from, quiet_to))
        return written

    def rest(self, to: int) -> list[OutRecord]:
        """No audio comes, and all that came is silent: it is done with.

        Args:
            to: Sample behind it.
        """
        if to <= self.done_to:
            return []
        came_from, self.done_to = self.done_to, to
        return [Progress(self._epoch, self._call, self._index, came_from, to)]

    def _partial(self, words: tuple[Word, ...], stable: int, start: int, end: int, hypothesis: Hypothesis) -> Partial:
        revision, self._revision = self._revision, self._revision + 1
        return Partial(
            epoch=self._epoch,
            call=self._call,
            channel=self._index,
            number=self._number,
            revision=revision,
            words=words,
            stable=stable,
            start=start / SAMPLE_RATE,
            end=end / SAMPLE_RATE,
            language=hypothesis.language,
            model=hypothesis.model,
        )


def _timed(words: tuple[Word, ...], start: int, end: int) -> tuple[Word, ...]:
    """Move words from their window's clock to the call's, inside the window."""
    origin, limit = start / SAMPLE_RATE, end / SAMPLE_RATE
    return tuple(
        Word(word.text, min(origin + word.start, limit), min(origin + word.end, limit), word.confidence)
        for word in words
    )
