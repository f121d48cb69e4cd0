"""Model files, as CTranslate2's own converter writes them, come out as they went in."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from gpu.errors import ModelDamaged
from gpu.torch_engine.weights import FILE, Weights, read_weights
from streaming.decoding import Float32Array
from tests.support.models import model_folder
from tests.support.random_whisper import Size, write_random_whisper

LINEAR = "decoder/layer_1/attention/linear_0/weight"


@pytest.fixture(scope="module")
def like() -> Path:
    return model_folder("tiny.en")


def stored(folder: Path, like: Path, quantization: str | None) -> Weights:
    write_random_whisper(folder / "model", Size(), like, quantization=quantization)
    return read_weights(folder / "model")


def test_what_is_stored_as_it_is_comes_out_exactly(tmp_path: Path, like: Path) -> None:
    weights = stored(tmp_path, like, None)

    assert weights[LINEAR].dtype == np.float32
    assert weights[LINEAR].shape == (32, 32)
    assert weights["encoder/conv1/weight"].shape == (32, 80, 3)
    assert int(weights["decoder/num_heads"]) == 2


def test_aliases_name_the_same_weights(tmp_path: Path, like: Path) -> None:
    """Whisper's last layer is its first, transposed; the file holds it once."""
    weights = stored(tmp_path, like, "int8")

    assert weights["decoder/projection/weight"] is weights["decoder/embeddings/weight"]


@pytest.mark.parametrize(("quantization", "steps"), [("int8", 127), ("int16", 1024), ("float16", 1024)])
def test_what_is_quantised_comes_out_within_half_a_step(
    tmp_path: Path, like: Path, quantization: str, steps: int
) -> None:
    """int8 has a scale for each row, int16 one for all, float16 none."""
    exact = stored(tmp_path / "exact", like, None)

    rounded = stored(tmp_path / "rounded", like, quantization)

    assert rounded.keys() == exact.keys()
    for name, values in exact.items():
        if values.ndim:
            of_row = np.abs(values).reshape(values.shape[0], -1).max(axis=1)
            largest = of_row.reshape(-1, *[1] * (values.ndim - 1)) if quantization == "int8" else of_row.max()
            assert (np.abs(rounded[name].astype(np.float32) - values) <= 0.501 * largest / steps + 1e-7).all()


def binary(variables: bytes, count: int, *, version: int = 6, name: bytes = b"WhisperSpec", revision: int = 3) -> bytes:
    named = struct.pack("<H", len(name) + 1) + name + b"\0"
    return struct.pack("<I", version) + named + struct.pack("<II", revision, count) + variables + struct.pack("<I", 0)


def variable(name: bytes, code: int, values: bytes, *shape: int) -> bytes:
    sizes = struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return struct.pack("<H", len(name) + 1) + name + b"\0" + sizes + struct.pack("<BI", code, len(values)) + values


def read(folder: Path, content: bytes) -> Weights:
    (folder / FILE).write_bytes(content)
    return read_weights(folder)


def test_bfloat16_comes_out_as_float32(tmp_path: Path) -> None:
    """numpy has no such type; its bits are the upper half of a float32."""
    values: Float32Array = np.array([1.0, -2.5, 3.0e-5], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2").tobytes()

    weights = read(tmp_path, binary(variable(b"x", 5, halves, 3), 1))

    assert weights["x"].dtype == np.float32
    assert np.allclose(weights["x"], values, rtol=2**-7)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "cannot be read"),
        (b"\6\0", "cannot be read"),
        (binary(b"", 0, version=3), "version 3, older than 4"),
        (binary(b"", 0, name=b"TransformerSpec"), "TransformerSpec revision 3, not WhisperSpec"),
        (binary(b"", 0, revision=2), "WhisperSpec revision 2, not"),
        (binary(b"", 7), "cannot be read"),
        (binary(variable(b"x", 0, b"\0" * 4, 2), 1), "cannot be read"),
        (binary(variable(b"x", 9, b"\0" * 4, 1), 1), "cannot be read"),
        (binary(variable(b"x", 1, b"\0\0", 2), 1), "scale is missing"),
    ],
)
def test_what_is_no_whisper_model_is_refused_with_the_reason(tmp_path: Path, content: bytes, complaint: str) -> None:
    """A copy that was cut short, or another kind of model, must not come up as a device that hears nonsense."""
    with pytest.raises(ModelDamaged, match=complaint):
        read(tmp_path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelDamaged, match=FILE):
        read_weights(tmp_path)
