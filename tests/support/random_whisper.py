"""Whisper models with random weights, of any size: their shapes and speed are real, their words mean nothing.

They are written by CTranslate2's own converter code, so what reads them is tested against files it did not make.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2 import specs as _specs

from streaming.decoding import Float32Array

specs: Any = _specs  # it comes without types


@dataclass(frozen=True, slots=True)
class Size:
    """Dimensions of a model."""

    width: int = 32
    heads: int = 2
    encoder_layers: int = 2
    decoder_layers: int = 2
    n_mels: int = 80


def write_random_whisper(
    folder: Path, size: Size, like: Path, *, quantization: str | None = None, seed: int = 1
) -> None:
    """Make a model folder.

    Args:
        folder: Is made.
        size: Of the model.
        like: A model folder whose tokens it shares.
        quantization: How weights are stored, as CTranslate2 names it; float32 if not given.
        seed: Of its weights.
    """
    folder.mkdir(parents=True)
    shutil.copy(like / "tokenizer.json", folder)
    config: dict[str, Any] = json.loads((like / "config.json").read_text())
    tokens = (like / "vocabulary.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> Float32Array:
        return rng.normal(0.0, 0.5 * shape[-1] ** -0.5, shape).astype(np.float32)

    spec = specs.WhisperSpec(size.encoder_layers, size.heads, size.decoder_layers, size.heads)
    width = size.width
    for part in (spec.encoder, spec.decoder):
        _norm(part.layer_norm, width)
        for layer in part.layer:
            attentions: list[tuple[Any, tuple[int, ...]]] = [(layer.self_attention, (3, 1))]
            if part is spec.decoder:
                attentions.append((layer.attention, (1, 2, 1)))
            for attention, widths in attentions:
                _norm(attention.layer_norm, width)
                for linear, times in zip(attention.linear, widths, strict=True):
                    linear.weight, linear.bias = random(times * width, width), random(times * width)
            _norm(layer.ffn.layer_norm, width)
            layer.ffn.linear_0.weight, layer.ffn.linear_0.bias = random(4 * width, width), random(4 * width)
            layer.ffn.linear_1.weight, layer.ffn.linear_1.bias = random(width, 4 * width), random(width)
    spec.encoder.conv1.weight, spec.encoder.conv1.bias = random(width, size.n_mels, 3), random(width)
    spec.encoder.conv2.weight, spec.encoder.conv2.bias = random(width, width, 3), random(width)
    spec.encoder.position_encodings.encodings = random(1500, width)
    spec.decoder.position_encodings.encodings = random(448, width)
    spec.decoder.embeddings.weight = random(len(tokens), width) * np.float32(8)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    for head in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
        setattr(spec.config, head, config[head])
    spec.config.alignment_heads = [[size.decoder_layers - 1, head] for head in range(size.heads)]
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))


def _norm(norm: Any, width: int) -> None:
    norm.gamma, norm.beta = np.ones(width, np.float32), np.zeros(width, np.float32)
