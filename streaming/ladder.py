"""The ladder of quality as data: with which models, how often and with how much care speech is decoded.

Whoever decides about load climbs and descends it; devices take from a rung which models are in force, sessions how they
cut windows. The weights of all rungs stay in memory, so a step takes effect with the next batch and the next window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

CAREFUL: Final = (1.5, 2.0)
"""Factors on the cadence of the rungs that `stretched` adds first: finals are decoded as ever."""

HASTY: Final = (2.0, 3.0, 4.0)
"""Those of the rungs below, on which finals are decoded greedily and alone."""

SPECULATE_UP_TO: Final = 2.0
"""Factor up to which finals are still begun at a hesitation: some of these guesses are thrown away."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder."""

    partial_model: str
    """Model of partials that do not name one."""
    final_model: str
    """Model of finals that do not name one; may be the same."""
    cadence_s: float = 1.0
    """Seconds of new audio between two partials of a channel."""
    beam: int = 1
    """Hypotheses kept beside each other while a final is decoded; 1 is greedy."""
    lead_s: float = 0.0
    """Most earlier speech, in seconds, that a final is decoded behind."""
    longest_s: float = 15.0
    """Length in seconds at which an utterance is cut, so that no window costs more than this."""
    speculate: bool = True
    """Whether finals may be begun before an utterance is known to be over."""

    @property
    def models(self) -> tuple[str, ...]:
        """Its models, each once, that of finals first."""
        return tuple(dict.fromkeys((self.final_model, self.partial_model)))


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs from the best to the cheapest.

    Raises:
        ValueError: If there is none, or one comes twice in a row.
    """

    rungs: tuple[Rung, ...]

    def __post_init__(self) -> None:
        if not self.rungs:
            raise ValueError("a ladder needs a rung")
        for above, below in pairwise(self.rungs):
            if above == below:
                raise ValueError(f"two rungs in a row are the same: {above}")

    def __len__(self) -> int:
        return len(self.rungs)

    def __getitem__(self, step: int) -> Rung:
        return self.rungs[step]

    def __iter__(self) -> Iterator[Rung]:
        return iter(self.rungs)

    @property
    def decodes(self) -> tuple[tuple[str, int], ...]:
        """Model and beam of every kind of window it asks for, each once: partials are always greedy."""
        wanted = (((rung.partial_model, 1), (rung.final_model, rung.beam)) for rung in self.rungs)
        return tuple(dict.fromkeys(pair for pairs in wanted for pair in pairs))

    @property
    def models(self) -> tuple[str, ...]:
        """All models of all rungs, each once, those of the best rung first: what a device must hold."""
        return tuple(dict.fromkeys(model for rung in self.rungs for model in rung.models))


def stretched(best: Rung) -> Ladder:
    """Make the ladder of a pair of models: partials give first, then care, then guesses, then the model of finals.

    Nobody misses a partial that was replaced, so rarer ones are the first saving, and cost no word of a final; below,
    finals are decoded greedily and alone. Where partials have a model of their own, the last rung writes finals with
    it too.

    Args:
        best: The first rung.
    """
    hasty = replace(best, beam=1, lead_s=0.0)
    rungs = [best, *(replace(best, cadence_s=best.cadence_s * factor) for factor in CAREFUL)]
    rungs += [
        replace(hasty, cadence_s=best.cadence_s * factor, speculate=best.speculate and factor <= SPECULATE_UP_TO)
        for factor in HASTY
    ]
    if best.partial_model != best.final_model:
        rungs.append(replace(rungs[-1], final_model=best.partial_model))
    return Ladder(tuple(dict.fromkeys(rungs)))  # one that is greedy anyway has no haste to add
