"""How fast a device could decode at best: arithmetic and memory traffic of Whisper against what the device can do.

Encoder: two convolutions, then layers of attention over ``T`` positions of 20 ms. Decoder: one step a token; a step
reads all weights once for the whole batch, and every row's cached keys and values.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from gpu.models import mel_bands

VOCABULARY: Final = 51_865

PEAKS: Final = {
    "H200": (790e12, 4.3e12),
    "H100": (700e12, 2.9e12),
    "L40S": (250e12, 0.75e12),
    "L4": (70e12, 0.25e12),
    "A10G": (60e12, 0.5e12),
}
"""float16 FLOP/s and bytes/s that matrix products and copies reach on cards, not what their data sheets say."""


TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of a Whisper model."""

    width: int
    encoder_layers: int
    decoder_layers: int
    n_mels: int = 80

    @property
    def heads(self) -> int:
        """Attention heads; all of Whisper's are 64 wide."""
        return self.width // 64

    def encoder_flops(self, frames: int) -> float:
        """Floating point operations for one window of so many frames of 10 ms."""
        steps, width = frames / 2, self.width
        convolutions = 2 * 3 * width * (self.n_mels * frames + width * steps)
        layer = 24 * steps * width**2 + 4 * steps**2 * width
        cross_keys = 4 * steps * width**2 * self.decoder_layers
        return convolutions + self.encoder_layers * layer + cross_keys

    def step_flops(self, frames: int) -> float:
        """Floating point operations for one token of one row."""
        layer = 28 * self.width**2 + 4 * (frames / 2) * self.width
        return self.decoder_layers * layer + 2 * self.width * VOCABULARY

    def step_bytes(self, frames: int, batch: int, width_bytes: int = 2) -> float:
        """Bytes read for one token of every row."""
        weights = self.decoder_layers * 14 * self.width**2 + self.width * VOCABULARY
        cached = self.decoder_layers * 2 * (frames / 2 + 20) * self.width
        return width_bytes * (weights + batch * cached)


SHAPES: Final = {  # the last is none of Whisper's: small with the features of large-v3, to share a channel with it
    "tiny": Shape(384, 4, 4),
    "base": Shape(512, 6, 6),
    "small": Shape(768, 12, 12),
    "medium": Shape(1024, 24, 24),
    "large-v3": Shape(1280, 32, 32, 128),
    "large-v3-turbo": Shape(1280, 32, 4, 128),
    "small-128": Shape(768, 12, 12, 128),
}


@dataclass(frozen=True, slots=True)
class Peak:
    """What a device can do."""

    flops: float
    """Floating point operations a second."""
    bytes_s: float
    """Bytes a second from memory."""
    source: str
    """Where that is known from."""


def windows_per_s(shape: Shape, peak: Peak, *, frames: int, batch: int, tokens: int) -> float:
    """Windows a second that no engine exceeds: the encoder at full speed, each step bound by arithmetic or memory."""
    step_s = max(
        batch * shape.step_flops(frames) / peak.flops,
        shape.step_bytes(frames, batch) / peak.bytes_s,
    )
    return batch / (batch * shape.encoder_flops(frames) / peak.flops + tokens * step_s)


def shape_of(folder: Path, model: str) -> Shape | None:
    """Shape of a model, by its name; None for one that is no Whisper of a known size."""
    name = max((name for name in SHAPES if model.startswith(name)), key=len, default=None)
    if name is None or mel_bands(folder) != SHAPES[name].n_mels:
        return None
    return SHAPES[name]


def peak_of(device: str, gpu: str | None, cores: int) -> Peak | None:
    """What a device can do: of GPUs known beforehand, of processors measured now in float32."""
    if device.startswith("cuda"):
        card = next((card for card in PEAKS if gpu and card in gpu.replace(",", " ").split()), None)
        return Peak(*PEAKS[card], f"{card}, as measured by others") if card else None
    side = 1536
    left = np.random.default_rng(1).standard_normal((side, side), dtype=np.float32)
    product_s = min(_cpu_s(partial(np.matmul, left, left)) for _ in range(TRIES)) / cores
    source, copy = np.ones(1 << 26, np.uint8), np.empty(1 << 26, np.uint8)
    copy_s = min(_cpu_s(partial(np.copyto, copy, source)) for _ in range(TRIES))
    return Peak(
        2.0 * side**3 / product_s,
        2 * source.nbytes / copy_s,
        f"float32 products and copies, measured here in processor time of {cores} cores",
    )


def _cpu_s(work: Callable[[], object]) -> float:
    """Seconds of the processor that something takes, all threads together: other programs do not change it."""
    began = time.process_time()
    work()
    return time.process_time() - began
