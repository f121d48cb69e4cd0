"""The front end as an NVIDIA DALI pipeline, which runs on a GPU, on a stream of its own, or on the processor.

It takes 8 kHz and 16 kHz, where resampling is a filter between zeros. DALI's own resampler has another filter, which
lets through what ours keeps out above 3.5 kHz, and other features would come of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gpu.front_end.front_end import NOTHING, Array, Source, frames_of
from streaming.audio import levels
from streaming.call import SAMPLE_RATE, Encoding
from streaming.decoding import Float32Array
from streaming.features import FRAME_HOP, FRAME_SUPPORT, HANN, POWER_FLOOR
from streaming.resample import resampling_filter

__all__ = ["DaliFrontEnd"]

dali: Any = import_module("nvidia.dali")  # it comes with incomplete types, and only where a GPU or its tests are
fn: Any = import_module("nvidia.dali.fn")
types: Any = import_module("nvidia.dali.types")
maximum: Any = import_module("nvidia.dali.math").max

LARGEST_BATCH: Final = 256
"""Windows that a pipeline takes at a time."""

CODES: Final = np.arange(256, dtype=np.uint8)


class DaliFrontEnd:
    """Makes features with NVIDIA DALI.

    Args:
        source: What it takes: 8 or 16 kHz.
        n_mels: Mel bands.
        device: ``cpu``, or ``cuda:`` and the number of the GPU.

    Raises:
        ValueError: If the rate is another.
    """

    def __init__(self, source: Source, n_mels: int, device: str = "cpu") -> None:
        if source.rate not in (SAMPLE_RATE // 2, SAMPLE_RATE):
            raise ValueError(f"the DALI front end takes 8000 and 16000 Hz, not {source.rate}; use torch or numpy")
        self._source = source
        self._n_mels = n_mels
        self._device = device
        kind, _, number = device.partition(":")
        self._on_gpu = kind == "cuda"
        self._number = int(number or 0) if self._on_gpu else None
        self._pipelines = {normalised: self._pipeline(normalised) for normalised in (False, True)}

    def batch(self, payloads: Sequence[bytes], *, frames: int | None = None, normalised: bool = True) -> Array:
        """Turn windows into a batch of features; see `FrontEnd.batch`."""
        _, lengths, longest = frames_of(self._source, payloads, frames)
        parts = [
            self._run(payloads[at : at + LARGEST_BATCH], lengths[at : at + LARGEST_BATCH], longest, normalised)
            for at in range(0, len(payloads), LARGEST_BATCH)
        ]
        if len(parts) == 1:
            return parts[0]
        return import_module("torch").cat(parts) if self._on_gpu else np.concatenate(parts)

    def _run(self, payloads: Sequence[bytes], lengths: Sequence[int], longest: int, normalised: bool) -> Array:
        pipeline = self._pipelines[normalised]
        pipeline.feed_input("payload", [np.frombuffer(payload, np.uint8) for payload in payloads])
        pipeline.feed_input("own", [np.array([length], np.int32) for length in lengths])
        pipeline.feed_input("longest", [np.array([longest], np.int32) for _ in payloads])
        (made,) = pipeline.run()
        if not self._on_gpu:
            features: Float32Array = np.array(made.as_tensor())
            return features
        torch: Any = import_module("torch")
        plugin: Any = import_module("nvidia.dali.plugin.pytorch")
        batch = torch.empty((len(payloads), self._n_mels, longest), dtype=torch.float32, device=self._device)
        plugin.feed_ndarray(made.as_tensor(), batch, cuda_stream=torch.cuda.current_stream(self._device))
        return batch

    def _pipeline(self, normalised: bool) -> Any:
        pipeline = dali.Pipeline(
            batch_size=LARGEST_BATCH, num_threads=1, device_id=self._number, prefetch_queue_depth=1
        )
        with pipeline:
            payload = fn.external_source(name="payload", device="cpu", dtype=types.UINT8, ndim=1)
            own = fn.external_source(name="own", device="cpu", dtype=types.INT32, ndim=1)
            longest = fn.external_source(name="longest", device="cpu", dtype=types.INT32, ndim=1)
            sound = self._resampled(self._samples(payload.gpu() if self._on_gpu else payload))
            mel = fn.slice(self._log_mel(sound), 0, own, axes=[1])
            mel = fn.pad(mel, axes=(1,), shape=longest, fill_value=NOTHING)
            if normalised:
                mel = (maximum(mel, fn.reductions.max(mel) - 8.0) + 4.0) * 0.25
            pipeline.set_outputs(mel)
        pipeline.build()
        return pipeline

    def _samples(self, payload: Any) -> Any:
        """Decode by looking bytes up; a sample of two is the sum of what its bytes stand for."""
        if self._source.encoding.sample_bytes == 1:
            return _looked_up(payload, levels(self._source.encoding))
        pairs = fn.reshape(payload, shape=[-1, 2])
        low, high = (1, 0) if self._source.encoding is Encoding.L16BE else (0, 1)
        unsigned, signed = CODES.astype(np.float32), CODES.view(np.int8).astype(np.float32)
        return _looked_up(pairs[:, low], unsigned / np.float32(32_768)) + _looked_up(
            pairs[:, high], signed / np.float32(128)
        )

    def _resampled(self, sound: Any) -> Any:
        if self._source.rate == SAMPLE_RATE:
            return sound
        apart = fn.reshape(fn.stack(sound, sound * 0.0, axis=1), shape=[1, -1])
        return fn.reshape(fn.filter(apart, _between_zeros()[None], border="constant"), shape=[-1])

    def _log_mel(self, sound: Any) -> Any:
        spectrum = fn.spectrogram(
            sound,
            nfft=FRAME_SUPPORT,
            window_length=FRAME_SUPPORT,
            window_step=FRAME_HOP,
            window_fn=HANN.tolist(),
            reflect_padding=False,
        )
        mel = fn.mel_filter_bank(spectrum, nfilter=self._n_mels, sample_rate=SAMPLE_RATE, freq_high=SAMPLE_RATE / 2)
        return fn.to_decibels(mel, multiplier=1.0, reference=1.0, cutoff_db=float(np.log10(POWER_FLOOR)))


def _looked_up(codes: Any, values: Float32Array) -> Any:
    return fn.lookup_table(codes, keys=list(range(256)), values=values.tolist(), dtype=types.FLOAT)


def _between_zeros() -> Float32Array:
    """The resampler's filter from 8 to 16 kHz, as it is applied to samples with a zero behind each."""
    _, _, reach, weights = resampling_filter(SAMPLE_RATE // 2, SAMPLE_RATE)
    taps = np.zeros(4 * reach + 1, np.float32)
    for output in (0, 1):
        behind: NDArray[np.int64] = output - 2 * (np.arange(weights.shape[0], dtype=np.int64) - (reach - 1))
        near = np.abs(behind) <= 2 * reach
        taps[2 * reach + behind[near]] = weights[near, output]
    return taps
