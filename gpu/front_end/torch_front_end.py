"""The front end in PyTorch: the whole batch at once, on any device, on a CUDA stream of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gpu.front_end.front_end import NOTHING, Source, frames_of
from gpu.torch_engine.untyped import Tensor, functional, torch
from streaming.audio import levels
from streaming.call import SAMPLE_RATE, Encoding
from streaming.features import FRAME_HOP, FRAME_SUPPORT, HANN, POWER_FLOOR, mel_filters
from streaming.resample import resampling_filter

__all__ = ["TorchFrontEnd"]

HALF: Final = FRAME_SUPPORT // 2


class TorchFrontEnd:
    """Makes features with PyTorch.

    Args:
        source: What it takes, at any rate.
        n_mels: Mel bands.
        device: ``cpu``, or ``cuda:`` and the number of the GPU.
    """

    def __init__(self, source: Source, n_mels: int, device: str = "cpu") -> None:
        self._source = source
        self._device = device
        self._on_gpu = device.startswith("cuda")
        self._stream: Any = torch.cuda.Stream(device) if self._on_gpu else None
        if not self._on_gpu:
            torch.set_num_threads(1)  # threads are the device's streams
        self._mel = torch.tensor(mel_filters(n_mels), device=device)
        self._hann = torch.tensor(HANN, device=device)
        self._filter = None if source.rate == SAMPLE_RATE else resampling_filter(source.rate, SAMPLE_RATE)
        if self._filter is not None:
            self._weights = torch.tensor(self._filter.weights, device=device)
        if source.encoding.sample_bytes == 1:
            self._levels = torch.tensor(levels(source.encoding), device=device)

    def batch(self, payloads: Sequence[bytes], *, frames: int | None = None, normalised: bool = True) -> Tensor:
        """Turn windows into a batch of features; see `FrontEnd.batch`."""
        samples, lengths, longest = frames_of(self._source, payloads, frames)
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            mel = self._features(self._samples(payloads, samples), samples, longest)
            beyond = torch.arange(longest, device=self._device) >= self._tensor(lengths)[:, None]
            mel = mel.masked_fill(beyond[:, None], NOTHING)
            if normalised:
                mel = (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8.0) + 4.0) * 0.25
        if self._on_gpu:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
            mel.record_stream(torch.cuda.current_stream(self._device))
        return mel

    def _samples(self, payloads: Sequence[bytes], samples: Sequence[int]) -> Tensor:
        """Decode on the device: float32, shape ``(B, longest)``, zeros behind each window."""
        width = self._source.encoding.sample_bytes
        host = torch.zeros((len(payloads), max(samples) * width), dtype=torch.uint8, pin_memory=self._on_gpu)
        rows: NDArray[np.uint8] = host.numpy()
        for row, payload in zip(rows, payloads, strict=True):
            row[: len(payload)] = np.frombuffer(payload, np.uint8)
        sent = host.to(self._device, non_blocking=True)
        if width == 1:
            sound = self._levels[sent.long()]
        else:
            pairs = sent.unflatten(1, (-1, 2))
            low, high = (1, 0) if self._source.encoding is Encoding.L16BE else (0, 1)
            sound = (pairs[..., low].float() + 256.0 * pairs[..., high].view(torch.int8).float()) / 32_768.0
        return self._cut(sound, samples)

    def _cut(self, sound: Tensor, counts: Sequence[int]) -> Tensor:
        """Silence what lies behind each window's own samples."""
        inside = torch.arange(sound.shape[1], device=self._device) < self._tensor(counts)[:, None]
        return sound * inside

    def _features(self, sound: Tensor, samples: Sequence[int], longest: int) -> Tensor:
        """log10 of mel power, shape ``(B, n_mels, longest)``."""
        sound = self._resampled(sound, samples)
        wanted = (longest - 1) * FRAME_HOP + FRAME_SUPPORT
        sound = functional.pad(sound, (HALF, max(wanted - HALF - sound.shape[1], 0)))[:, :wanted]
        windows = sound.unfold(1, FRAME_SUPPORT, FRAME_HOP) * self._hann
        spectrum = torch.view_as_real(torch.fft.rfft(windows))
        power = spectrum.square().sum(-1).transpose(1, 2)
        return (self._mel @ power).clamp_min(POWER_FLOOR).log10()

    def _resampled(self, sound: Tensor, samples: Sequence[int]) -> Tensor:
        if self._filter is None:
            return sound
        inputs, outputs, reach, weights = self._filter
        own = [-(-count * SAMPLE_RATE // self._source.rate) for count in samples]
        blocks = -(-max(own) // outputs)
        behind = (blocks - 1) * inputs + weights.shape[0] - (reach - 1) - sound.shape[1]
        padded = functional.pad(sound, (reach - 1, max(behind, 0)))
        made = padded.unfold(1, weights.shape[0], inputs)[:, :blocks] @ self._weights
        return self._cut(made.flatten(1)[:, : max(own)], own)

    def _tensor(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, device=self._device)
