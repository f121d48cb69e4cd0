"""PyTorch, without its types.

It is not installed where no GPU is and nobody asked for it, and every machine has to give the same verdict on the types
of this folder. So none of them is known to the checkers; shapes and types are told in docstrings.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["Tensor", "functional", "torch"]

torch: Any = import_module("torch")
functional: Any = torch.nn.functional
Tensor = Any
"""A ``torch.Tensor``."""
