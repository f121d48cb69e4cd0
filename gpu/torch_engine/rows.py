"""One window on its way through the decoder: what it was given, what it wrote, and when it is done."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gpu import guards
from gpu.torch_engine.untyped import Tensor
from streaming.decoding import Float32Array

__all__ = ["Row"]


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
    checked: int = 0
    """Tokens of the draft that were as the model would have written them."""
    steps: int = 0
    """Steps of the decoder it took part in, after the first pass over all its tokens."""
    attention: Float32Array | None = None
    """Of the alignment heads where each token, and the end, was written; shape ``(A, len(logprobs), steps)``."""
    done: Future[None] = field(default_factory=Future[None])

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
