"""Decodes many windows at once, each at its own place: rows join and leave between two steps.

Rows sit in the first slots of the cache, without holes: where one leaves, the last takes its slot. A row that joins
reads its prompt and its draft in one pass. The pass tells for every token of the draft what the model would have
written in its place; up to the first that differs, the draft is what the model writes, and that one token more is known
too. From there on the row goes step by step with the others; where it can guess what follows (the draft may be right
again behind a comma it had not) a step checks that guess in the same way, for all rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gpu import guards
from gpu.torch_engine.network import Cache, Network
from gpu.torch_engine.rows import PAYS, Row
from gpu.torch_engine.rules import Past, Rules
from gpu.torch_engine.untyped import Tensor, torch

__all__ = ["Decoder", "Steps"]

AT_ONCE: Final = 256
"""Places whose next token is chosen at once: each takes a few copies of the vocabulary in float32."""

ROUNDED: Final = 32
"""The cache is read up to a multiple of so many tokens, so that its shape changes rarely."""


class Steps:
    """The state of all slots on the device, and one step of it, with nothing read back.

    Args:
        network: The model.
        cache: Of its rows.
        rules: What may be written.
    """

    def __init__(self, network: Network, cache: Cache, rules: Rules) -> None:
        self._network = network
        self._cache = cache
        self._rules = rules
        self.state = torch.zeros((5, cache.slots), dtype=torch.int64, device=network.sample.device)
        """Rows: last token, the one before, last timestamp, position of the last token, steps of audio."""
        self.chosen = torch.zeros((2, cache.slots), dtype=torch.float32, device=network.sample.device)
        """Rows: the token written last, and its log probability."""

    @property
    def past(self) -> Past:
        """What the rules need to know."""
        return Past(self.state[0], self.state[1], self.state[2])

    def __call__(self, rows: int, said: int, longest: int) -> None:
        """Write one token more in each of the first slots.

        Args:
            rows: Slots.
            said: A number of tokens that no row has reached.
            longest: Steps of audio that no row exceeds.
        """
        last, before, stamp, positions, steps = self.state[:, :rows]
        past = Past(last, before, stamp)
        hidden = self._network.step(
            last[:, None], positions[:, None], self._cache, steps=steps, said=said, longest=longest
        )
        tokens, logprobs = self._rules.choose(self._network.logits(hidden[:, 0]), past)
        after = self._rules.after(past, tokens)
        self.chosen[:, :rows] = torch.stack([tokens.float(), logprobs])
        # slots that no row is in may be stepped too, again and again
        positions = (positions + 1).clamp_max(self._network.shape.longest_text - 1)
        self.state[:4, :rows] = torch.stack([after.last, after.before, after.stamp, positions])


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a row may write next, after a pass over it."""

    row: Row
    place: int
    """Where in the pass its next token is told."""
    proposed: tuple[int, ...]


class Decoder:
    """Rows of many windows on one device; used by one thread.

    Args:
        network: The model.
        cache: For its rows.
        rules: What may be written.
        task: Gives the tokens of the task for the token of a language.
        languages: Tokens of the languages the model knows.
        sot: The token that starts a transcript.
        no_speech: The token whose probability there is that of silence.
        steps: Runs the steps; given where they are run in another way than one operation at a time.
    """

    def __init__(
        self,
        network: Network,
        cache: Cache,
        rules: Rules,
        *,
        task: Callable[[int], tuple[int, ...]],
        languages: Sequence[int],
        sot: int,
        no_speech: int,
        steps: Callable[[Steps], Callable[[int, int, int], None]] = lambda steps: steps,
    ) -> None:
        self._network = network
        self._cache = cache
        self._rules = rules
        self._task = task
        self._languages = list(languages)
        self._sot = sot
        self._no_speech = no_speech
        self._steps = Steps(network, cache, rules)
        self._run = steps(self._steps)
        self._rows: list[Row] = []

    @property
    def free(self) -> int:
        """Rows that may join."""
        return self._cache.slots - len(self._rows)

    @property
    def busy(self) -> bool:
        """Whether there are rows."""
        return bool(self._rows)

    def clear(self) -> list[Row]:
        """Give up all rows and return them."""
        rows, self._rows = self._rows, []
        return rows

    def join(self, rows: Sequence[Row]) -> list[Row]:
        """Take rows in, at most as many as are free.

        Returns:
            Those that are done already.
        """
        first = len(self._rows)
        self._rows += rows
        for slot, row in enumerate(rows, first):
            self._cache.heard[:, :, slot, :, : row.frames] = row.heard
        self._detect([(slot, row) for slot, row in enumerate(rows, first) if row.task is None])
        read = [[*row.prompt, *row.draft] for row in rows]
        hidden = self._read(first, rows, read)
        self._hear_silence(rows, hidden)
        ahead = [Ahead(row, len(row.prompt) - 1, row.draft) for row in rows]
        done = self._verify(ahead, hidden)
        self._place(first)
        return [self._leave(row) for row in done]

    def step(self) -> list[Row]:
        """Write at least one token more in every row.

        Returns:
            Rows that are done, which have left.
        """
        guesses = [row.guess() for row in self._rows]
        for row in self._rows:
            row.steps += 1
        # the pass is as wide for rows without a guess: enough of them all has to be worth checking
        pays = sum(map(len, guesses)) >= PAYS * len(self._rows)
        done = self._leap(guesses) if pays else self._walk()
        return [self._leave(row) for row in done]

    # --- steps --------------------------------------------------------------------------------------------------------

    def _walk(self) -> list[Row]:
        """Write one token in every row; return those that are done."""
        count = len(self._rows)
        self._run(count, self._said(1), max(row.frames for row in self._rows))
        tokens, logprobs = self._steps.chosen[:, :count].tolist()
        return [
            row
            for row, token, logprob in zip(self._rows, tokens, logprobs, strict=True)
            if self._write(row, int(token), logprob)
        ]

    def _leap(self, guesses: Sequence[tuple[int, ...]]) -> list[Row]:
        """Check guesses, and write one token behind what is right of each; return rows that are done."""
        device, most = self._network.sample.device, 1 + max(map(len, guesses))
        read = [[row.written[-1], *guess] for row, guess in zip(self._rows, guesses, strict=True)]
        tokens = torch.tensor([[*one, *[0] * (most - len(one))] for one in read], device=device)
        begin = torch.tensor([len(row.prompt) + len(row.written) - 1 for row in self._rows], device=device)
        positions = (begin[:, None] + torch.arange(most, device=device)).clamp_max(self._network.shape.longest_text - 1)
        steps = self._steps.state[4, : len(self._rows)]
        longest = max(row.frames for row in self._rows)
        hidden = self._network.step(tokens, positions, self._cache, steps=steps, said=self._said(most), longest=longest)
        done = self._verify([Ahead(row, 0, guess) for row, guess in zip(self._rows, guesses, strict=True)], hidden)
        self._place(0)
        return done

    def _said(self, more: int) -> int:
        """A number of tokens that no row reaches by so many more, rounded up."""
        furthest = max(len(row.prompt) + len(row.written) for row in self._rows) + more - 1
        return min(-(-furthest // ROUNDED) * ROUNDED, self._network.shape.longest_text)

    def _place(self, first: int) -> None:
        """Tell the device where the rows from a slot on are."""
        rows, device = self._rows[first:], self._network.sample.device
        past = Past.of([row.written for row in rows], self._rules.timestamp_begin, device)
        positions = [len(row.prompt) + len(row.written) - 1 for row in rows]
        frames = [row.frames for row in rows]
        state = torch.stack([past.last, past.before, past.stamp, *torch.tensor([positions, frames], device=device)])
        self._steps.state[:, first : len(self._rows)] = state

    # --- joining ------------------------------------------------------------------------------------------------------

    def _read(self, first: int, rows: Sequence[Row], read: Sequence[Sequence[int]]) -> Tensor:
        longest = max(map(len, read))
        device = self._network.sample.device
        tokens = torch.tensor([[*one, *[0] * (longest - len(one))] for one in read], device=device)
        frames = [row.frames for row in rows]
        steps = torch.tensor(frames, device=device)
        return self._network.read(tokens, self._cache, first=first, steps=steps, longest=max(frames))

    def _detect(self, unknown: Sequence[tuple[int, Row]]) -> None:
        """Let the model say which languages are spoken; the places it reads at are read again right after."""
        for slot, row in unknown:
            hidden = self._read(slot, [row], [[self._sot]])
            scores = self._network.logits(hidden[0, 0])[self._languages]
            probability, best = scores.softmax(-1).max(-1)
            row.language, row.language_confidence = self._languages[int(best)], float(probability)
            row.task = self._task(row.language)

    def _hear_silence(self, rows: Sequence[Row], hidden: Tensor) -> None:
        every = torch.arange(len(rows), device=hidden.device)
        places = torch.tensor([len(row.before) for row in rows], device=hidden.device)
        scores = self._network.logits(hidden[every, places])
        for row, probability in zip(rows, scores.softmax(-1)[:, self._no_speech].tolist(), strict=True):
            row.no_speech = probability

    def _verify(self, ahead: Sequence[Ahead], hidden: Tensor) -> list[Row]:
        """Write what is right of what was proposed, and the token behind it; return the rows that are done with it."""
        options = [(number, count) for number, one in enumerate(ahead) for count in range(len(one.proposed) + 1)]
        past = Past.of(
            [[*ahead[number].row.written, *ahead[number].proposed[:count]] for number, count in options],
            self._rules.timestamp_begin,
            hidden.device,
        )
        every = torch.tensor([number for number, _ in options], device=hidden.device)
        places = torch.tensor([ahead[number].place + count for number, count in options], device=hidden.device)
        found: list[tuple[float, float]] = []
        for start in range(0, len(options), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            logits = self._network.logits(hidden[every[part], places[part]])
            chosen = self._rules.choose(logits, Past(past.last[part], past.before[part], past.stamp[part]))
            found += zip(*(one.tolist() for one in chosen), strict=True)
        chosen_next = iter(found)
        return [one.row for one in ahead if self._accept(one, [next(chosen_next) for _ in (*one.proposed, None)])]

    def _accept(self, ahead: Ahead, chosen: Sequence[tuple[float, float]]) -> bool:
        """Write tokens up to the first that was not proposed, and say whether the row is done."""
        row, right, done = ahead.row, 0, False
        for (token, logprob), proposed in zip(chosen, (*ahead.proposed, None), strict=True):
            done = self._write(row, int(token), logprob)
            if done or token != proposed:
                break
            right += 1
        row.judge(len(ahead.proposed), right)
        return done

    # --- leaving ------------------------------------------------------------------------------------------------------

    def _write(self, row: Row, token: int, logprob: float) -> bool:
        return row.write(token, logprob, eot=self._rules.eot, timestamp_begin=self._rules.timestamp_begin)

    def _leave(self, row: Row) -> Row:
        slot = next(at for at, one in enumerate(self._rows) if one is row)
        if row.align and row.written:
            first = len(row.prompt) - 1  # where the first token was written
            audio = min(round(row.audio_s / guards.STEP_S), row.frames)
            row.attention = self._cache.attention(slot, first, first + len(row.logprobs), audio).numpy()
        last = self._rows.pop()
        if last is not row:
            tokens = len(last.prompt) + len(last.written)
            self._cache.move(len(self._rows), slot, tokens, last.frames)
            self._steps.state[:, slot] = self._steps.state[:, len(self._rows)]
            self._rows[slot] = last
        return row
