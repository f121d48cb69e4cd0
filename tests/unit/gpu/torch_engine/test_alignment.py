"""The path through attention is the best there is, and takes words to where they were said."""

from __future__ import annotations

import numpy as np
import pytest

from gpu.torch_engine.alignment import align, path
from streaming.decoding import Float32Array


def slow_best(gain: Float32Array) -> float:
    """What the best path collects, found cell by cell."""
    best = np.full(gain.shape, -np.inf)
    for row in range(gain.shape[0]):
        for column in range(gain.shape[1]):
            before = [
                best[above, beside]
                for above, beside in ((row - 1, column - 1), (row - 1, column), (row, column - 1))
                if above >= 0 and beside >= 0
            ]
            best[row, column] = gain[row, column] + (max(before) if before else 0.0)
    return float(best[-1, -1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 40), (25, 150), (12, 7)])
def test_no_path_collects_more(shape: tuple[int, int]) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"seed {seed}")  # noqa: T201  shown when the test fails
    gain = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    cells = path(gain)

    assert tuple(cells[0]) == (0, 0)
    assert tuple(cells[-1]) == (shape[0] - 1, shape[1] - 1)
    steps = np.diff(cells, axis=0)
    assert ((steps >= 0) & (steps <= 1)).all()
    assert (steps.sum(axis=1) >= 1).all()
    assert gain[cells[:, 0], cells[:, 1]].sum() == pytest.approx(slow_best(gain), abs=1e-3)


def test_tokens_begin_where_the_attention_goes_to_them() -> None:
    """Three heads, one of them looking elsewhere; rows that are not asked for, as timestamps, do not disturb."""
    said_at = [0, 5, 20, 22, 40]
    attention = np.full((3, 5, 60), 1e-3, np.float32)
    for token, (start, end) in enumerate(zip(said_at, [*said_at[1:], 60], strict=True)):
        attention[:2, token, start:end] = 1.0
        attention[2, token, 30] = 1.0
    attention /= attention.sum(axis=2, keepdims=True)

    cells = align(attention, np.array([1, 2, 4]))

    first = {int(token): int(step) for token, step in cells[::-1]}
    assert first[0] == 0
    assert abs(first[1] - 20) <= 2
    assert abs(first[2] - 40) <= 2


@pytest.mark.parametrize("steps", [0, 1, 3, 4])
def test_the_shortest_audio_has_an_alignment_or_none(steps: int) -> None:
    """Half a step of audio has no attention at all, and three cannot be mirrored for the median."""
    attention = np.full((2, 4, steps), 1 / max(steps, 1), np.float32)

    cells = align(attention, np.array([1, 2]))

    assert len(cells) >= 2 if steps else len(cells) == 0
