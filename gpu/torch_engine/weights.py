"""Weights from the ``model.bin`` of a CTranslate2 model folder, as numpy arrays.

The file, all integers little-endian; a string is a u16 length that counts the zero byte at its end, then its bytes:

    u32 version | string specification | u32 revision | u32 count | count variables | u32 count | count aliases

    variable    string name | u8 rank | rank u32 sizes | u8 type | u32 bytes | the values, last axis fastest
    type        0 float32, 1 int8, 2 int16, 3 int32, 4 float16, 5 bfloat16
    alias       string another name | string name of a variable

A quantised variable ``x`` has another, ``x_scale``, with one number for each row of its first axis (int8) or one for
all of it (int16): what is stored is the value times the scale, rounded. Versions before 4 are laid out in another way.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gpu.errors import ModelDamaged

__all__ = ["Weights", "read_weights"]

Weights = Mapping[str, NDArray[Any]]

FILE: Final = "model.bin"
OLDEST: Final = 4
SPECIFICATION: Final = "WhisperSpec"
REVISION: Final = 3
"""Of the names of the variables: what this folder understands."""

BFLOAT16: Final = 5
TYPES: Final = (np.float32, np.int8, np.int16, np.int32, np.float16, np.uint16)  # bfloat16 as its bits
SCALE: Final = "_scale"
QUANTISED: Final = ("int8", "int16")


def read_weights(folder: Path) -> Weights:
    """Read all weights of a Whisper model.

    Returns:
        By name, aliases among them: float16 as stored (not copied: the file stays mapped), what is quantised or
        bfloat16 as float32, settings as integers of shape ``()``.

    Raises:
        ModelDamaged: If the file is missing, cut short, or not a Whisper model of a known layout.
    """
    file = folder / FILE
    try:
        with file.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        return _Reader(mapped).weights()
    except (OSError, ValueError, struct.error, UnicodeDecodeError, IndexError) as problem:
        raise ModelDamaged(f"{file} cannot be read as a CTranslate2 Whisper model: {problem}") from problem


class _Reader:
    """Reads a file from its start to its end."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._bytes = mapped
        self._at = 0

    def weights(self) -> Weights:
        version = self._number("<I")
        if version < OLDEST:
            raise ValueError(f"its format is version {version}, older than {OLDEST}; convert the model again")
        name, revision = self._string(), self._number("<I")
        if (name, revision) != (SPECIFICATION, REVISION):
            raise ValueError(f"it is {name} revision {revision}, not {SPECIFICATION} revision {REVISION}")
        stored = dict(self._variable() for _ in range(self._number("<I")))
        plain = {name: _plain(name, stored) for name in stored if not name.endswith(SCALE)}
        for _ in range(self._number("<I")):
            alias, name = self._string(), self._string()
            if not alias.endswith(SCALE):
                plain[alias] = plain[name]
        return plain

    def _variable(self) -> tuple[str, NDArray[Any]]:
        name = self._string()
        shape = tuple(self._number("<I") for _ in range(self._number("<B")))
        kind, size = TYPES[(code := self._number("<B"))], self._number("<I")
        values: NDArray[Any] = np.frombuffer(self._bytes, kind, size // np.dtype(kind).itemsize, self._at)
        self._at += size
        if code == BFLOAT16:  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return name, values.reshape(shape)

    def _string(self) -> str:
        length = self._number("<H")
        text = self._bytes[self._at : self._at + length]
        self._at += length
        return text.rstrip(b"\0").decode()

    def _number(self, layout: str) -> int:
        (number,) = struct.unpack_from(layout, self._bytes, self._at)
        self._at += struct.calcsize(layout)
        return int(number)


def _plain(name: str, stored: Weights) -> NDArray[Any]:
    """Undo quantisation, where there is any."""
    values, scale = stored[name], stored.get(name + SCALE)
    if scale is None:
        if values.dtype.name in QUANTISED and values.ndim:
            raise ValueError(f"variable {name} is quantised and its scale is missing")
        return values
    widened: NDArray[Any] = values.astype(np.float32) / scale.reshape(-1, *[1] * (values.ndim - 1))
    return widened
