"""What a front end is, which there are, and the reference that the others are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np

from streaming.audio import decode
from streaming.call import SAMPLE_RATE, Encoding
from streaming.decoding import Float32Array
from streaming.features import FRAME_HOP, FeatureStore, normalise
from streaming.resample import Resampler

__all__ = ["NOTHING", "Array", "FrontEnd", "NumpyFrontEnd", "Source", "frames_of", "make"]

NOTHING: Final = -10.0
"""log10 mel power of digital silence, which windows are padded with."""

Array = Any
"""A numpy array, or a ``torch.Tensor`` on the front end's device."""

_KNOWN: Final = {
    "numpy": "gpu.front_end.front_end:NumpyFrontEnd",
    "torch": "gpu.front_end.torch_front_end:TorchFrontEnd",
    "dali": "gpu.front_end.dali_front_end:DaliFrontEnd",
}


@dataclass(frozen=True, slots=True)
class Source:
    """How the audio of a batch comes: mono, all of it alike."""

    encoding: Encoding
    rate: int
    """Hz."""

    def samples(self, payload: bytes) -> int:
        """Samples in a payload.

        Raises:
            ValueError: If it is none, or not whole samples.
        """
        count, rest = divmod(len(payload), self.encoding.sample_bytes)
        if rest or not count:
            raise ValueError(
                f"a window of {self.encoding} needs whole samples and at least one, got {len(payload)} bytes"
            )
        return count


class FrontEnd(Protocol):
    """Makes features of one kind of audio. Used by one thread."""

    def batch(self, payloads: Sequence[bytes], *, frames: int | None = None, normalised: bool = True) -> Array:
        """Turn windows into a batch of features.

        Args:
            payloads: Audio of each window, at least one of them, none empty; silence is assumed around it.
            frames: Length to pad to, in frames of 10 ms; that of the longest if not given. Behind a window's own
                frames comes digital silence.
            normalised: Whether Whisper's clamp and scale are applied, to each window with its padding; else the
                features are log10 of mel power, at least -10.

        Returns:
            float32, shape ``(windows, n_mels, frames)``.

        Raises:
            ValueError: If a payload is empty or not whole samples, or one is longer than ``frames``.
        """
        ...


def make(kind: str, source: Source, n_mels: int = 80, device: str = "cpu") -> FrontEnd:
    """Make a front end.

    Args:
        kind: ``numpy``, ``torch`` or ``dali``, or ``module:class`` of one of your own.
        source: What it takes.
        n_mels: Mel bands.
        device: ``cpu``, or ``cuda:`` and the number of the GPU, which numpy does not take.

    Raises:
        ValueError: If there is no such front end, or it does not take this audio.
        ModuleNotFoundError: If its library is not installed.
    """
    module, colon, name = _KNOWN.get(kind, kind).partition(":")
    if not colon:
        raise ValueError(f"there is no front end {kind!r}; use one of {', '.join(_KNOWN)}")
    made: FrontEnd = getattr(import_module(module), name)(source, n_mels, device)
    return made


def frames_of(source: Source, payloads: Sequence[bytes], frames: int | None) -> tuple[list[int], list[int], int]:
    """Return each payload's samples and frames, and the length of the batch in frames.

    Raises:
        ValueError: If a payload is empty or not whole samples, or one is longer than ``frames``.
    """
    samples = [source.samples(payload) for payload in payloads]
    own = [-(-count * SAMPLE_RATE // source.rate) for count in samples]
    lengths = [-(-count // FRAME_HOP) for count in own]
    longest = max(lengths)
    if frames is not None and longest > frames:
        raise ValueError(f"a window has {longest} frames and is to be padded to {frames}")
    return samples, lengths, frames or longest


class NumpyFrontEnd:
    """The reference: window by window, with the very parts of the live path.

    Args:
        source: What it takes.
        n_mels: Mel bands.
        device: ``cpu``.

    Raises:
        ValueError: If the device is another.
    """

    def __init__(self, source: Source, n_mels: int, device: str = "cpu") -> None:
        if device != "cpu":
            raise ValueError(f"numpy computes on the processor, not on {device}")
        self._source = source
        self._n_mels = n_mels

    def batch(self, payloads: Sequence[bytes], *, frames: int | None = None, normalised: bool = True) -> Float32Array:
        """Turn windows into a batch of features; see `FrontEnd.batch`."""
        _, _, longest = frames_of(self._source, payloads, frames)
        batch = np.full((len(payloads), self._n_mels, longest), NOTHING, np.float32)
        for row, payload in zip(batch, payloads, strict=True):
            store = FeatureStore(self._n_mels)
            resampler = Resampler(self._source.rate, SAMPLE_RATE)
            store.append(resampler.push(decode(payload, self._source.encoding)))
            store.append(resampler.flush())
            store.finish()
            row[:, : store.available_frames] = store.frames(0, store.available_frames)
            if normalised:
                row[:] = normalise(row)
        return batch
