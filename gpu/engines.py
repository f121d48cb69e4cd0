"""Which engine a device's description means."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from gpu.cuda import load_cublas
from gpu.engine import Engine
from gpu.errors import EngineError
from gpu.front_end.engine import EngineWithFrontEnd
from gpu.spec import DeviceSpec

__all__ = ["build", "pytorch", "scripted", "whisper"]

_KNOWN: Final = {
    "whisper": "gpu.engines:whisper",
    "torch": "gpu.engines:pytorch",
    "scripted": "gpu.engines:scripted",
}


def build(spec: DeviceSpec, model: str) -> Engine:
    """Make one of a device's engines.

    Args:
        spec: The device; its ``engine`` is ``whisper``, ``torch``, ``scripted``, or ``module:function`` of an engine of
            your own, where the function takes what this one takes.
        model: One of the device's models.

    Raises:
        EngineError: If the model is not found or cannot be loaded.
        ValueError: If there is no such engine or front end.
    """
    module, colon, function = _KNOWN.get(spec.engine, spec.engine).partition(":")
    if not colon:
        known = ", ".join(_KNOWN)
        raise ValueError(f"there is no engine {spec.engine!r}; use one of {known}, or module:function of your own")
    make = cast(Callable[[DeviceSpec, str], Engine], getattr(import_module(module), function))
    engine = make(spec, model)
    if spec.front_end == "host":
        return engine
    return EngineWithFrontEnd(engine, spec.front_end, device=spec.device, workers=spec.streams)


def whisper(spec: DeviceSpec, model: str) -> Engine:
    """Whisper on CTranslate2; options are the fields of its ``Tuning``, and ``hub``: whether models may be fetched."""
    from gpu.models import ModelStore  # noqa: PLC0415  a device without Whisper does not pay for loading its libraries
    from gpu.whisper import Tuning, WhisperEngine  # noqa: PLC0415  the same

    if spec.device.startswith("cuda"):
        load_cublas()
    options: dict[str, Any] = dict(spec.options)
    store = ModelStore.from_environment(os.environ, allow_hub=bool(options.pop("hub", False)))
    return WhisperEngine(
        store.find(model),
        Path(model).name,
        device=spec.device,
        compute_type=spec.compute_type,
        workers=spec.streams,
        tuning=Tuning(**options),
    )


def pytorch(spec: DeviceSpec, model: str) -> Engine:
    """Whisper on PyTorch; options are ``drafts`` and ``graphs``, the fields of ``Tuning``, and ``hub``, as above."""
    from gpu.models import ModelStore  # noqa: PLC0415  as above

    try:
        from gpu.torch_engine.engine import TorchEngine, Tuning  # noqa: PLC0415  as above
    except ModuleNotFoundError as problem:
        raise EngineError(
            f"engine torch needs PyTorch; install {problem.name}, or the extra 'gpu' of Trunkline"
        ) from problem

    options: dict[str, Any] = dict(spec.options)
    store = ModelStore.from_environment(os.environ, allow_hub=bool(options.pop("hub", False)))
    switches = {name: bool(options.pop(name)) for name in ("drafts", "graphs") if name in options}
    return TorchEngine(
        store.find(model),
        Path(model).name,
        device=spec.device,
        compute_type=spec.compute_type,
        slots=spec.streams * spec.max_batch,
        tuning=Tuning(**options),
        **switches,
    )


def scripted(spec: DeviceSpec, model: str) -> Engine:
    """Tones as words; options are the arguments of ``ScriptedEngine``, whose costs are slept for.

    One with the name of a model in front, such as ``small.each_s``, is for that model alone.
    """
    from gpu.scripted import ScriptedEngine  # noqa: PLC0415  as above

    own = {
        name.removeprefix(f"{model}."): value for name, value in spec.options.items() if name.startswith(f"{model}.")
    }
    options: dict[str, Any] = {name: value for name, value in spec.options.items() if "." not in name} | own
    return ScriptedEngine(model, sleep=time.sleep, **options)
