"""Earlier speech in front of a final's window: how much of it, and which words of the answer are not the window's own.

A fragment is understood better behind what led to it, so a final is decoded together with the speaker's earlier speech.
Its words are written already; what comes back is cut where the window's own audio begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final

from streaming.agreement import normalise
from streaming.call import SAMPLE_RATE
from streaming.decoding import Hypothesis, Word
from streaming.utterance import WindowSettings

LATE_S: Final = 0.3
"""How late an alignment may place a word. The lead's last one, too, where nobody paused behind it."""


@dataclass(slots=True)
class Told:
    """Speech whose final is out, or on its way. Positions are samples at 16 kHz."""

    start: int
    end: int
    text: str = ""
    """Empty until the final is known."""


@dataclass(frozen=True, slots=True)
class Lead:
    """Earlier speech in front of a window."""

    samples: int = 0
    """Its length, silence between it and the window included."""
    told: Told | None = None
    """The newest part of it; None where there is no lead."""
    quiet: int | None = None
    """Samples of the window's own audio in which nobody speaks yet; None where speech goes on from the lead, as behind
    a cut."""

    def taken_from(self, hypothesis: Hypothesis) -> Hypothesis:
        """Drop the words of the lead, and time the others from where the window's own audio begins.

        Its tokens go, too: they are no draft for a window without the lead.
        """
        if self.told is None:
            return hypothesis
        lead_s = self.samples / SAMPLE_RATE
        before = [word for word in hypothesis.words if (word.start + word.end) / 2 < lead_s]
        words = [word for word in hypothesis.words if (word.start + word.end) / 2 >= lead_s]
        if words and self._is_echo(words[0], before, self.told.text):
            words = words[1:]
        timed = (replace(word, start=max(0.0, word.start - lead_s), end=word.end - lead_s) for word in words)
        return replace(hypothesis, words=tuple(timed), tokens=())

    def _is_echo(self, word: Word, before: Iterable[Word], text: str) -> bool:
        """Tell whether the first word behind the lead is the lead's last one, placed a little late.

        It is not where it begins once the speaker began again, nor where all of the lead's end was heard before it:
        people do say a word twice.

        Args:
            word: The first that lies in the window's own audio.
            before: Those heard in the lead's.
            text: The lead's, as it was written.
        """
        said = [normalise(each) for each in text.split()]
        last = normalise(word.text)
        late_s = LATE_S if self.quiet is None else self.quiet / SAMPLE_RATE
        if said[-1:] != [last] or word.start >= self.samples / SAMPLE_RATE + late_s:
            return False
        return _times_at_end(last, (normalise(each.text) for each in before)) < _times_at_end(last, said)


class Leads:
    """What a channel told lately, without a long pause in it."""

    def __init__(self) -> None:
        self._told: deque[Told] = deque()

    @property
    def start(self) -> int | None:
        """First sample that may still be wanted; None if none is."""
        return self._told[0].start if self._told else None

    def add(self, told: Told) -> None:
        """Note speech whose final is out, or on its way."""
        self._told.append(told)

    def begin(self, start: int, settings: WindowSettings) -> None:
        """Keep only what may lead speech that begins here: no long pause behind it, and near enough."""
        if self._told and start - self._told[-1].end > settings.lead_pause_s * SAMPLE_RATE:
            self._told.clear()
        while self._told and start - self._told[0].start > settings.lead_s * SAMPLE_RATE:
            self._told.popleft()

    def before(self, start: int, end: int, settings: WindowSettings, onset: int | None = None) -> Lead:
        """Return the most that may lead a window; whole finals only.

        Args:
            start: First sample of the window's own audio.
            end: Sample behind it.
            settings: How much of it may lead.
            onset: Sample at which the speaker began, behind a pause; None where speech went on.
        """
        most = settings.leadable_s((end - start) / SAMPLE_RATE) * SAMPLE_RATE
        samples = max((start - told.start for told in self._told if start - told.start <= most), default=0)
        quiet = None if onset is None else max(0, onset - start)
        return Lead(samples, self._told[-1], quiet) if samples else Lead()


def _times_at_end(word: str, said: Iterable[str]) -> int:
    """How many times in a row a word is the last; all normalised."""
    return sum(1 for _ in takewhile(word.__eq__, reversed(list(said))))
