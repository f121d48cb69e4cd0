"""One window on its way through the decoder: what it was given, what it wrote, and when it is done."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu import guards
from gpu.torch_engine.untyped import Tensor
from streaming.decoding import Float32Array

__all__ = ["PAYS", "Row"]

WIDEST: Final = 16
"""Tokens of a guess."""

PAYS: Final = 3
"""Fewest tokens of a guess: to check it costs more than a step, and a step gives one token."""

LONGEST_LOOP: Final = 24
"""Tokens of the longest phrase whose repetition is noticed."""

NEAR: Final = 2
"""Tokens that a draft may be ahead or behind where it is taken up again."""


@dataclass(slots=True, eq=False)
class Row:
    """A window that is being decoded."""

    heard: Tensor
    """Keys and values of its audio, shape ``(layers, 2, H, T, D)``."""
    before: tuple[int, ...]
    """Tokens before the start of the transcript."""
    task: tuple[int, ...] | None
    """Tokens that say what to do, from the start of the transcript on; None: the language is to be detected."""
    draft: tuple[int, ...]
    """What it may write, to be checked."""
    most: int
    """Tokens it may write."""
    audio_s: float
    """Seconds of audio, without padding."""
    align: bool
    """Whether it wants to know when its tokens were said."""
    guesses: bool = True
    """Whether it guesses what comes next, where that can be checked."""

    language: int | None = None
    """Token of the language detected."""
    language_confidence: float = 1.0
    no_speech: float = 0.0
    """Probability of silence."""
    written: list[int] = field(default_factory=list[int])
    """Tokens, without the one that ends a transcript."""
    logprobs: list[float] = field(default_factory=list[float])
    """Of every token written, and of the end where the model wrote it."""
    ended: bool = False
    """Whether it ended by itself, or at the end of its audio, and not at the most it may write."""
    proposed: int = 0
    """Tokens of the draft, and guessed later, that were checked."""
    checked: int = 0
    """Those of them that were as the model would have written them."""
    steps: int = 0
    """Steps of the decoder it took part in, after the first pass over all its tokens."""
    attention: Float32Array | None = None
    """Of the alignment heads where each token, and the end, was written; shape ``(A, len(logprobs), steps)``."""
    done: Future[None] = field(default_factory=Future[None])

    _at: int = 0
    """Where in the draft it is likely to be."""
    _from_draft: bool = True
    """Whether the last guess was the draft's."""
    _silent_to: int = 0
    """Tokens that are to be written before it repeats itself in a guess again."""

    @property
    def prompt(self) -> tuple[int, ...]:
        """All tokens before those it writes."""
        return (*self.before, *(self.task or ()))

    @property
    def frames(self) -> int:
        """Steps of 20 ms in its audio, padding counted."""
        return int(self.heard.shape[3])

    def write(self, token: int, logprob: float, *, eot: int, timestamp_begin: int) -> bool:
        """Take the next token and say whether the row is done.

        It is done where the model ends, where a segment ends with the audio (what would follow is about the padding),
        and at the most it may write.
        """
        self.logprobs.append(logprob)
        if token == eot:
            self.ended = True
            return True
        closes = token >= timestamp_begin and bool(self.written) and self.written[-1] < eot
        self.written.append(token)
        if closes and (token - timestamp_begin) * guards.STEP_S >= self.audio_s - guards.END_SLACK_S:
            self.ended = True
        return self.ended or len(self.written) >= self.most

    def guess(self) -> tuple[int, ...]:
        """What may come next: enough of it that one pass to check it pays, or nothing.

        Where a draft was wrong, by a comma or a name, what follows is often right again, one token earlier or later.
        And a model that says again what it said is likely to go on with it.
        """
        if not self.guesses:
            return ()
        last = self.written[-1]
        near = range(max(self._at - NEAR, 0), min(self._at + NEAR + 1, len(self.draft)))
        found = next((at for at in near if self.draft[at] == last), None)
        self._from_draft = found is not None
        self._at = self._at + 1 if found is None else found + 1
        guess = tuple(self.draft[self._at : self._at + WIDEST]) if found is not None else self._loop()
        return guess[: max(self.most - len(self.written) - 1, 0)] if len(guess) >= PAYS else ()

    def judge(self, proposed: int, right: int) -> None:
        """Hear how many tokens of what was proposed last, a draft or a guess, were right."""
        self.proposed += proposed
        self.checked += right
        if self._from_draft:
            self._at += right
        elif right < PAYS:
            self._silent_to = len(self.written) + WIDEST

    def _loop(self) -> tuple[int, ...]:
        """What follows where its last two tokens stood before, again and again."""
        written = self.written
        if len(written) < max(self._silent_to, 2):
            return ()
        before, last = written[-2:]
        for period in range(2, min(len(written) - 2, LONGEST_LOOP) + 1):
            if written[-1 - period] == last and written[-2 - period] == before:
                cycle = written[-period:]
                return tuple(cycle[at % period] for at in range(WIDEST))
        return ()

    @property
    def mean_logprob(self) -> float:
        """As CTranslate2 counts it: of all tokens and the end, over the number of tokens."""
        return sum(self.logprobs) / max(len(self.written), 1)

    def places(self, kept: tuple[tuple[int, ...], ...]) -> NDArray[np.int64]:
        """Find segments that were kept among the tokens written.

        Args:
            kept: Their tokens, in order.

        Returns:
            Place of each token in ``written``.
        """
        found: list[int] = []
        at = 0
        for tokens in kept:
            while tuple(self.written[at : at + len(tokens)]) != tokens:
                at += 1
            found += range(at, at + len(tokens))
            at += len(tokens)
        return np.array(found, np.int64)
