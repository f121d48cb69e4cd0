"""What became of words that are known beforehand: lost, said twice, or taken back."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trunkline import Final


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one side of a call, or of many."""

    lost: int = 0
    """Words spoken that no final has."""
    repeated: int = 0
    """Words of finals that nobody spoke, or that were had before."""
    changed: int = 0
    """Finals that came again with another text, or whose number skipped one."""

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(self.lost + other.lost, self.repeated + other.repeated, self.changed + other.changed)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self == Verdict()


def judge(spoken: Sequence[str], finals: Iterable[Final]) -> Verdict:
    """Compare one side's finals, in the order they came, with what was spoken."""
    texts: dict[int, str] = {}
    repeated = changed = 0
    for final in finals:
        had = texts.setdefault(final.number, final.text)
        if had != final.text or texts.keys() != set(range(len(texts))):
            changed += 1
        elif len(texts) - 1 != final.number:
            repeated += 1
    heard = [word for number in sorted(texts) for word in texts[number].split()]
    lost = 0
    for tag, spoken_from, spoken_to, heard_from, heard_to in difflib.SequenceMatcher(
        None, spoken, heard, autojunk=False
    ).get_opcodes():
        if tag != "equal":
            lost += spoken_to - spoken_from
            repeated += heard_to - heard_from
    return Verdict(lost, repeated, changed)
