"""Features that stay on the GPU they were made on: what engines do with those on the host, in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from gpu.front_end.front_end import NOTHING
from gpu.torch_engine.untyped import Tensor, torch

__all__ = ["loudest", "padded"]


def loudest(features: Sequence[Tensor]) -> list[float]:
    """Return the greatest of each window's features, at least one of them, none empty; read back at once."""
    found: list[float] = torch.stack([one.amax() for one in features]).tolist()
    return found


def padded(features: Sequence[Tensor], frames: int) -> Tensor:
    """Pad and normalise windows, on the current stream; see ``gpu.short_windows.padded``."""
    batch = features[0].new_full((len(features), features[0].shape[0], frames), NOTHING)
    for row, one in zip(batch, features, strict=True):
        row[:, : one.shape[1]] = one
    return (torch.maximum(batch, batch.amax((1, 2), keepdim=True) - 8.0) + 4.0) * 0.25
