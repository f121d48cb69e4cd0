"""Loads what the device bench measures, one engine at a time: a device's memory is for one."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gpu.cost import Cost
from gpu.engine import Engine
from gpu.engines import build
from gpu.errors import OutOfMemory
from gpu.memory import meter_of
from gpu.models import ModelStore
from gpu.spec import DeviceSpec
from streaming.decoding import Float32Array
from tests.bench.device_costs import sound
from tests.bench.device_plan import RANDOM
from tests.bench.roofline import SHAPES, Shape, shape_of
from tests.support.random_whisper import Size, write_random_whisper


class Bay:
    """Where one engine at a time stands.

    Args:
        device: ``cpu``, or ``cuda:`` and a number.
        compute_type: As CTranslate2 names it.
        max_batch: Most windows of a batch.
        folder: Where models with random weights are kept.
    """

    def __init__(self, device: str, compute_type: str, max_batch: int, folder: Path) -> None:
        self._device = device
        self._compute_type = compute_type
        self._max_batch = max_batch
        self._random = folder
        self._models = ModelStore.from_environment(os.environ)
        self._meter = meter_of(device)
        self._loaded: tuple[tuple[str, str, int], Engine] | None = None
        self._sounds: dict[int, Float32Array] = {}

    def engine(self, engine: str, model: str, streams: int) -> Engine:
        """Return an engine that takes so many batches at a time; whatever else was loaded is closed.

        PyTorch takes memory for all windows at once: where that is not there, it gets room for half as many, and so on.

        Raises:
            EngineError: If it cannot be had on this machine.
        """
        wanted = (engine, model, streams)
        if self._loaded is None or self._loaded[0] != wanted:
            self.clear()
            spec = self.spec(engine, (model,), streams)
            while True:
                try:
                    self._loaded = wanted, build(spec, spec.models[0])
                    break
                except OutOfMemory:
                    if engine != "torch" or spec.max_batch == 1:
                        raise
                    spec = replace(spec, max_batch=spec.max_batch // 2)
                gc.collect()
        return self._loaded[1]

    def holds(self, engine: str, model: str) -> bool:
        """Whether it was possible to load a model last."""
        return self._loaded is not None and self._loaded[0][:2] == (engine, model)

    def clear(self) -> None:
        """Close what is loaded."""
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None
            gc.collect()

    def spec(
        self, engine: str, models: Sequence[str], streams: int, costs: Sequence[Cost] = (), *, name: str = "bench"
    ) -> DeviceSpec:
        """Describe a device that holds models, all of them with random weights or none."""
        random = models[0].endswith(RANDOM)
        return DeviceSpec(
            name=name,
            models=tuple(self.name(model) for model in models),
            engine="tests.bench.forced:build" if random else engine,
            options={"of": engine} if random else {},
            device=self._device,
            compute_type=self._compute_type,
            streams=streams,
            max_batch=self._max_batch,
            stuck_after_s=60.0,
            profile=tuple(replace(cost, model=self.name(cost.model)) for cost in costs),
        )

    def name(self, model: str) -> str:
        """Return what a device calls a model: its name, or the folder of its random weights, made on first use."""
        if not model.endswith(RANDOM):
            return model
        shape = SHAPES[model.removesuffix(RANDOM)]
        folder = self._random / model.removesuffix(RANDOM)
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            size = Size(shape.width, shape.heads, shape.encoder_layers, shape.decoder_layers, shape.n_mels)
            write_random_whisper(part, size, self._models.find("base"), quantization="float16")
            part.rename(folder)
        return str(folder)

    def shape(self, model: str) -> Shape | None:
        """Return a model's dimensions; None where they are not known."""
        return SHAPES.get(model.removesuffix(RANDOM)) or shape_of(self._models.find(model), model)

    def sound(self, n_mels: int) -> Float32Array:
        """Return speech to cut windows from."""
        if n_mels not in self._sounds:
            self._sounds[n_mels] = sound(n_mels)
        return self._sounds[n_mels]

    def used_mib(self) -> int | None:
        """Return the memory in use, of this process or of the card; None where nothing reads it."""
        memory = self._meter.read() if self._meter else None
        return memory.used_mib if memory else None
