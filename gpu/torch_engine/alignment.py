"""When tokens were said, from how the alignment heads attended to the audio. Pure numpy.

As in OpenAI's Whisper: each head's attention is standardised over the tokens and smoothed over time, the heads are
averaged, and the path through the tokens' rows that collects most of it, going forward only, tells when each was said.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.decoding import Float32Array

__all__ = ["align", "path"]

SMOOTHED_OVER: Final = 7
"""Steps of 20 ms a median is taken over."""

DIAGONAL, UP, LEFT = 0, 1, 2


def align(attention: Float32Array, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find when tokens were said.

    Args:
        attention: Of the alignment heads, shape ``(heads, n, steps)``; each row sums to 1.
        tokens: Rows of it that are wanted, rising.

    Returns:
        Pairs of (index in ``tokens``, step), rising in both, shape ``(k, 2)``; empty if there are no steps.
    """
    if not (tokens.size and attention.shape[2]):
        return np.empty((0, 2), np.int64)
    spread = attention.std(axis=1, keepdims=True)
    standard = (attention - attention.mean(axis=1, keepdims=True)) / np.maximum(spread, np.float32(1e-6))
    return path(_smooth(standard).mean(axis=0)[tokens])


def path(gain: Float32Array) -> NDArray[np.int64]:
    """Find the path from the first to the last cell that collects most, one cell right, down or both at a time.

    Args:
        gain: Of each cell, shape ``(rows, columns)``, neither 0.

    Returns:
        Its cells, shape ``(k, 2)``.
    """
    rows, columns = gain.shape
    best = np.full((rows + 1, columns + 1), -np.inf)
    best[0, 0] = 0.0
    came = np.full((rows + 1, columns + 1), LEFT, np.int8)
    came[1:, 0] = UP
    # the cells of a diagonal depend on the two diagonals before it only
    for diagonal in range(2, rows + columns + 1):
        across: NDArray[np.int64] = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1, dtype=np.int64)
        along: NDArray[np.int64] = diagonal - across
        both, up, left = best[across - 1, along - 1], best[across - 1, along], best[across, along - 1]
        steps = np.where((both > up) & (both > left), DIAGONAL, np.where((up > both) & (up > left), UP, LEFT))
        best[across, along] = gain[across - 1, along - 1] + np.choose(steps, (both, up, left))
        came[across, along] = steps
    row, column = rows, columns
    cells: list[tuple[int, int]] = []
    while row > 0 and column > 0:
        cells.append((row - 1, column - 1))
        step = int(came[row, column])
        row -= step != LEFT
        column -= step != UP
    return np.array(cells[::-1], np.int64)


def _smooth(attention: Float32Array) -> Float32Array:
    """Take medians over time, mirrored at both ends; what is too short to be mirrored stays as it is."""
    reach = SMOOTHED_OVER // 2
    if attention.shape[-1] <= reach:
        return attention
    mirrored = np.pad(attention, [(0, 0), (0, 0), (reach, reach)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, SMOOTHED_OVER, axis=-1)
    smoothed: Float32Array = np.median(windows, axis=-1)
    return smoothed
