"""Word errors, counted simply: enough for a demonstration, not for comparing models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_NO_WORD: Final = re.compile(r"[^\w\s']|_")


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Word errors of any amount of text; those of two texts add up."""

    words: int = 0
    """Words of the reference."""
    errors: int = 0
    """Words wrong, missing and too many."""

    @property
    def rate(self) -> float:
        """Errors per word of the reference; 0 words count as one."""
        return self.errors / max(1, self.words)

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(self.words + other.words, self.errors + other.errors)


def normalised(text: str) -> list[str]:
    """Return the words of a text in lower case and without punctuation."""
    return [word for part in _NO_WORD.sub(" ", text.lower()).split() if (word := part.strip("'"))]


def word_errors(said: str, heard: str) -> WordErrors:
    """Count the word errors of one text.

    Args:
        said: The reference.
        heard: The transcript.
    """
    reference = normalised(said)
    return WordErrors(len(reference), _distance(reference, normalised(heard)))


def _distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words must be changed, put in or taken out to get from one to the other."""
    row = list(range(len(other) + 1))
    for above, word in enumerate(one, 1):
        diagonal, row[0] = row[0], above
        for column, candidate in enumerate(other, 1):
            best = min(diagonal + (word != candidate), row[column] + 1, row[column - 1] + 1)
            diagonal, row[column] = row[column], best
    return row[-1]
