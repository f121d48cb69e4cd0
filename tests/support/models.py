"""Real models, where they are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu.errors import ModelNotFound
from gpu.models import ModelStore


def model_folder(name: str) -> Path:
    """Folder of a model; the test is skipped where it is not installed."""
    try:
        return ModelStore().find(name)
    except ModelNotFound as problem:
        pytest.skip(str(problem))


def need_torch() -> None:
    """Skip the module where PyTorch is not installed."""
    pytest.importorskip("torch", reason="PyTorch is not installed in this environment; run: make test-torch")
