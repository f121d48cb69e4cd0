"""An engine whose windows carry audio: a front end makes the features on the engine's device, then it decodes."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

import numpy as np

from gpu.engine import Bucket, Engine, TakesFeaturesOnGpu
from gpu.errors import EngineError, FrontEndFailed, OutOfMemory
from gpu.front_end.front_end import NOTHING, Array, FrontEnd, Source, make
from streaming.call import SAMPLE_RATE, Encoding
from streaming.decoding import Audio, Hypothesis, Window

__all__ = ["EngineWithFrontEnd"]

USUAL: Final = Source(Encoding.MULAW, 8_000)
"""What a front end is made for in advance; for other audio, when its first window comes."""

DALI_RATES: Final = (SAMPLE_RATE // 2, SAMPLE_RATE)
"""Hz that DALI's front end takes; what comes at others goes to PyTorch's."""


class EngineWithFrontEnd:
    """Any engine, given windows that carry audio; windows that carry features are passed on as they are.

    Args:
        engine: Decodes windows that carry features.
        kind: The front end: ``numpy``, ``torch`` or ``dali``.
        device: The engine's: ``cpu``, or ``cuda:`` and the number of the GPU. Features are made there, and stay there,
            if the engine takes them from a GPU's memory; else they are made on the processor.
        workers: Batches at a time.

    Raises:
        EngineError: If the front end is not installed.
    """

    def __init__(self, engine: Engine, kind: str, *, device: str, workers: int) -> None:
        on_gpu = device.startswith("cuda") and kind != "numpy"
        self._taker = engine if on_gpu and isinstance(engine, TakesFeaturesOnGpu) else None
        self._engine = engine
        self._kind = kind
        self._device = device if self._taker else "cpu"
        self._workers = workers
        self._free: defaultdict[Source, deque[FrontEnd]] = defaultdict(deque)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._engine.model

    @property
    def n_mels(self) -> int:
        """Mel bands its features get; any audio will do."""
        return self._engine.n_mels

    @property
    def multilingual(self) -> bool:
        """Whether it knows languages other than English."""
        return self._engine.multilingual

    @property
    def greedy(self) -> bool:
        """Whether it keeps one hypothesis alone."""
        return self._engine.greedy

    def bucket(self, window: Window) -> Bucket:
        """Shape of a window in a batch.

        Raises:
            ValueError: If the window is too long, has other mel bands, or not the audio it should have.
        """
        if not isinstance(window.sound, Audio):
            return self._engine.bucket(window)
        _check(window.sound)
        as_long = np.broadcast_to(np.float32(NOTHING), (self.n_mels, window.frames))  # takes no memory
        return self._engine.bucket(replace(window, sound=as_long))

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Make the features and transcribe; see `Engine.decode`.

        Raises:
            FrontEndFailed: If the front end did.
        """
        with self._stream():
            return self._engine.decode(self._with_features(windows))

    def warm_up(self) -> None:
        """Warm the engine, and make a front end for each batch at a time.

        Raises:
            EngineError: If the front end is not installed, or cannot be made.
        """
        self._engine.warm_up()
        second = bytes(USUAL.rate)
        try:
            made = [self._made(USUAL) for _ in range(self._workers)]
            for front_end in made:
                front_end.batch([second], normalised=False)
        except ModuleNotFoundError as problem:
            raise EngineError(
                f"front end {self._kind} needs {problem.name}; install the extra 'gpu' of Trunkline, or choose another"
            ) from problem
        except RuntimeError as problem:
            raise self._translated(problem) from problem
        self._free[USUAL].extend(made)

    def close(self) -> None:
        """Give the device's memory back."""
        self._free.clear()
        self._engine.close()

    def _stream(self) -> AbstractContextManager[object]:
        """What the engine's work on a GPU happens within: a front end makes that stream wait for its own."""
        return self._taker.stream() if self._taker else nullcontext()

    def _with_features(self, windows: Sequence[Window]) -> list[Window]:
        heard = list(windows)
        groups: defaultdict[Source, list[tuple[int, Audio]]] = defaultdict(list)
        for at, window in enumerate(windows):
            if not isinstance(window.sound, Audio):
                heard[at] = replace(window, sound=self._placed(window.sound))
            elif window.frames == 0:
                heard[at] = replace(window, sound=np.empty((self.n_mels, 0), np.float32))
            else:
                groups[Source(window.sound.encoding, window.sound.rate)].append((at, window.sound))
        for source, group in groups.items():
            features = self._features(source, [audio.payload for _, audio in group])
            for (at, audio), row in zip(group, features, strict=True):
                heard[at] = replace(heard[at], sound=row[:, audio.before : audio.before + audio.frames])
        return heard

    def _features(self, source: Source, payloads: Sequence[bytes]) -> Array:
        try:
            with self._borrowed(source) as front_end:
                batch = front_end.batch(payloads, normalised=False)
        except RuntimeError as problem:  # what PyTorch and DALI raise
            raise self._translated(problem) from problem
        return batch if self._taker else np.asarray(batch)

    def _placed(self, features: Array) -> Array:
        """Bring features to where those are that are made here."""
        if not (self._taker and features.size):
            return features
        torch: Any = import_module("torch")
        return torch.tensor(features, device=self._device)

    @contextmanager
    def _borrowed(self, source: Source) -> Generator[FrontEnd]:
        """Lend a front end to one thread; there are as many as were ever wanted at a time."""
        free = self._free[source]
        try:
            front_end = free.pop()
        except IndexError:
            front_end = self._made(source)
        yield front_end
        free.append(front_end)  # not one that failed

    def _made(self, source: Source) -> FrontEnd:
        kind = "torch" if self._kind == "dali" and source.rate not in DALI_RATES else self._kind
        return make(kind, source, self.n_mels, self._device)

    def _translated(self, problem: RuntimeError) -> EngineError:
        if "out of memory" in str(problem).lower():
            return OutOfMemory(f"features of a batch did not fit into the memory of {self._device}")
        return FrontEndFailed(f"front end {self._kind} failed on {self._device}: {problem}")


def _check(audio: Audio) -> None:
    """Refuse audio that is not as long as it should be; of the rate and the encoding a call was refused already."""
    if not audio.frames:
        return
    source = Source(audio.encoding, audio.rate)
    made = -(-source.samples(audio.payload) * 100 // source.rate)
    if made < audio.before + audio.frames:
        raise ValueError(f"a window of {audio.frames} frames came with audio for {made - audio.before}")
