"""Successive hypotheses of one utterance in, a stable prefix and a revisable tail out.

LocalAgreement-2 (Macháček, Dabre, Bojar 2023): words that two successive hypotheses agree on, from the start, are
stable. Agreement is judged on normalised words, so that a comma that comes and goes does not hold a word back.
"""

from __future__ import annotations

from collections.abc import Sequence

from streaming.decoding import Word


def normalise(text: str) -> str:
    """Reduce a word to what two hypotheses must share: lower case, letters and digits only."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def ends_a_sentence(text: str) -> bool:
    """Tell whether a text ends as a sentence does; an ellipsis says that more follows."""
    return text.endswith((".", "?", "!")) and not text.endswith("..")


class Agreement:
    """Holds the hypotheses of the open utterance."""

    def __init__(self) -> None:
        self._stable: list[Word] = []
        self._previous: list[str] = []  # normalised words of the last hypothesis behind the stable ones

    @property
    def stable(self) -> int:
        """How many of the first words will not change."""
        return len(self._stable)

    def update(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """Take the newest hypothesis of the utterance so far.

        Args:
            words: The whole utterance's words.

        Returns:
            The text to show: all words stable before, unchanged, and behind them the newest hypothesis.
        """
        tail = list(words[self._matched(words) :])
        heard = [normalise(word.text) for word in tail]
        agreed = 0
        while agreed < min(len(heard), len(self._previous)) and heard[agreed] == self._previous[agreed]:
            agreed += 1
        self._stable += tail[:agreed]
        self._previous = heard[agreed:]
        return (*self._stable, *tail[agreed:])

    def _matched(self, words: Sequence[Word]) -> int:
        """How many words of the newest hypothesis say what is stable already.

        Where the hypothesis contradicts the stable words, the prefix with the least edit distance to them is taken, so
        that the tail is neither said twice nor lost.
        """
        stable = [normalise(word.text) for word in self._stable]
        heard = [normalise(word.text) for word in words]
        if heard[: len(stable)] == stable:
            return len(stable)
        row = list(range(len(heard) + 1))  # distances of the stable words so far to each prefix of what was heard
        for count, wanted in enumerate(stable, start=1):
            diagonal, row[0] = row[0], count
            for end, got in enumerate(heard, start=1):
                diagonal, row[end] = row[end], min(row[end] + 1, row[end - 1] + 1, diagonal + (wanted != got))
        return min(range(len(row)), key=lambda end: (row[end], abs(end - len(stable))))
