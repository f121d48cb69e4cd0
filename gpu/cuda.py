"""Where CTranslate2 finds NVIDIA's libraries: its wheels bring none and open them by name.

It asks for ``libcublas.so.12``. Where the system has CUDA 12 that is found; else nvidia-cublas-cu12 has it, in a folder
the loader does not look into. A library that is loaded already is found by its name, so it is loaded here.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from gpu.errors import EngineError

__all__ = ["load_cublas"]

WANTED: Final = ("libcublasLt.so.12", "libcublas.so.12")
"""In the order in which they need each other."""

PACKAGES: Final = ("nvidia.cublas", "nvidia.cu12")
"""Namespaces in which wheels put them."""


def load_cublas() -> None:
    """Load what CTranslate2 will ask for.

    Raises:
        EngineError: If it is nowhere; the message says what to install.
    """
    for name in WANTED:
        if not any(_loads(place) for place in (name, *_places(name))):
            raise EngineError(
                f"CTranslate2 needs {name}, which is not on this machine; run: pip install nvidia-cublas-cu12"
                " (beside a PyTorch for CUDA 13 too), or install CUDA 12's runtime"
            )


def _places(name: str) -> list[str]:
    found: list[str] = []
    for package in PACKAGES:
        try:
            spec = find_spec(package)
        except ModuleNotFoundError:
            continue
        folders = spec.submodule_search_locations if spec else None
        found += [str(Path(folder) / "lib" / name) for folder in folders or ()]
    return found


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True
