"""Which token comes next: the likeliest that Whisper's rules allow, for many rows at once.

The rules are those of OpenAI's decoder, which CTranslate2 follows too: timestamps come in pairs, but before the end;
they never go back; the first token is a timestamp of the first second; and where all timestamps together are likelier
than any other token, one of them is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpu.torch_engine.untyped import Tensor, torch

__all__ = ["Past", "Rules"]

LATEST_START: Final = 50
"""The first timestamp is at most so many steps of 20 ms."""

NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Past:
    """What the rules need to know of each row; int64, shape ``(B,)``."""

    last: Tensor
    """The token written last; what it is does not matter where none was written."""
    before: Tensor
    """The token before it; the same as ``last`` where only one was written."""
    stamp: Tensor
    """The last timestamp; -1 if there was none, or nothing was written."""

    @classmethod
    def of(cls, written: Sequence[Sequence[int]], timestamp_begin: int, device: Tensor) -> Past:
        """Read it off what rows wrote."""
        last = [tokens[-1] if tokens else -1 for tokens in written]
        before = [tokens[-2] if len(tokens) > 1 else tokens[-1] if tokens else -1 for tokens in written]
        stamps = [max((token for token in tokens if token >= timestamp_begin), default=-1) for tokens in written]
        return cls(*torch.tensor([last, before, stamps], device=device))


class Rules:
    """Whisper's rules for one vocabulary.

    Args:
        vocabulary: Tokens in it; the timestamps are its end.
        eot: The token that ends a transcript; text tokens come before it.
        timestamp_begin: The token of 0.00 s; the one before it, which turns timestamps off, is never written.
        suppressed: Tokens that are never written.
        device: As PyTorch names it.
    """

    def __init__(
        self, vocabulary: int, eot: int, timestamp_begin: int, suppressed: Sequence[int], device: Tensor
    ) -> None:
        self.eot = eot
        self.timestamp_begin = timestamp_begin
        allowed = torch.zeros(vocabulary, device=device)
        allowed[[*suppressed, timestamp_begin - 1]] = NEVER
        self._allowed = allowed
        self._stamps = torch.arange(timestamp_begin, vocabulary, device=device)

    def choose(self, logits: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        """Return each row's next token and its log probability among those allowed.

        Args:
            logits: float32, shape ``(B, vocabulary)``.
            past: Of the rows.

        Returns:
            int64 and float32, shape ``(B,)``.
        """
        begin = self.timestamp_begin
        first = past.last < 0
        stamped = past.last >= begin
        paired = stamped & (past.before >= begin)
        single = stamped & ~paired
        lowest = torch.where(single, past.last, torch.where(past.stamp >= 0, past.stamp + 1, begin))
        lowest = torch.where(paired, begin + self._stamps.shape[0], lowest)
        highest = torch.where(first, begin + LATEST_START, begin + self._stamps.shape[0])
        barred = (self._stamps < lowest[:, None]) | (self._stamps > highest[:, None])

        scores = logits + self._allowed
        stamps = scores[:, begin:].masked_fill(barred, NEVER)
        words = scores[:, : self.eot].masked_fill((first | single)[:, None], NEVER)
        others = scores[:, self.eot : begin].masked_fill(first[:, None], NEVER)
        likeliest = torch.maximum(words.amax(-1), others.amax(-1))
        stamp_only = (stamps.logsumexp(-1) > likeliest)[:, None]
        scores = torch.cat(
            [words.masked_fill(stamp_only, NEVER), others.masked_fill(stamp_only, NEVER), stamps], dim=-1
        )
        best, tokens = scores.max(-1)
        return tokens, best - scores.logsumexp(-1)

    def after(self, past: Past, tokens: Tensor) -> Past:
        """What is past once rows have written these tokens."""
        return Past(
            last=tokens,
            before=torch.where(past.last < 0, tokens, past.last),
            stamp=torch.where(tokens >= self.timestamp_begin, tokens, past.stamp),
        )
