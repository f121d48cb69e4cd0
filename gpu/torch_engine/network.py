"""Whisper's layers, and the caches its decoder writes into.

Everything here is a tensor operation on fixed buffers, with no value read back to the host, so that a CUDA graph can
capture a step. B is rows, N tokens, T steps of 20 ms of audio, H heads, D numbers of a head, A alignment heads.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from gpu.torch_engine.untyped import Tensor, functional, torch
from gpu.torch_engine.weights import Weights

__all__ = ["Cache", "Network", "Shape"]

Parts = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a model is, as its weights say."""

    n_mels: int
    width: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    vocabulary: int
    longest_audio: int
    """Steps of 20 ms."""
    longest_text: int
    """Tokens."""

    @classmethod
    def of(cls, weights: Weights) -> Shape:
        """Read it off the weights."""
        width, n_mels, _ = weights["encoder/conv1/weight"].shape
        return cls(
            n_mels=n_mels,
            width=width,
            heads=int(weights["decoder/num_heads"]),
            encoder_layers=_layers(weights, "encoder"),
            decoder_layers=_layers(weights, "decoder"),
            vocabulary=weights["decoder/embeddings/weight"].shape[0],
            longest_audio=weights["encoder/position_encodings/encodings"].shape[0],
            longest_text=weights["decoder/position_encodings/encodings"].shape[0],
        )

    @property
    def head(self) -> int:
        """Numbers of a head."""
        return self.width // self.heads


class Cache:
    """What the decoder keeps of its rows; a row's place is its slot.

    Memory is taken for all slots at their longest. (On a processor it is only taken where it is written.)

    Args:
        shape: Of the model.
        slots: Rows it has room for.
        alignment_heads: Pairs of layer and head whose attention tells when a token was said.
        like: A tensor of the device and type to use.
    """

    def __init__(self, shape: Shape, slots: int, alignment_heads: Sequence[tuple[int, int]], like: Tensor) -> None:
        layers, heads, head = shape.decoder_layers, shape.heads, shape.head
        self.slots = slots
        self.said = like.new_zeros((layers, 2, slots, heads, shape.longest_text, head))
        """Keys and values of the tokens, shape ``(layers, 2, slots, H, tokens, D)``."""
        self.heard = like.new_zeros((layers, 2, slots, heads, shape.longest_audio, head))
        """Keys and values of the audio, shape ``(layers, 2, slots, H, T, D)``."""
        self.queries = like.new_zeros((slots, shape.longest_text, len(alignment_heads), head))
        """What the alignment heads asked the audio at each token, shape ``(slots, tokens, A, D)``."""
        self.aligned: dict[int, tuple[Tensor, slice]] = {}
        """By layer: its alignment heads, and their places in ``queries``."""
        by_layer: defaultdict[int, list[int]] = defaultdict(list)
        for layer, number in alignment_heads:
            by_layer[layer].append(number)
        place = 0
        for layer, numbers in by_layer.items():
            self.aligned[layer] = torch.tensor(numbers, device=like.device), slice(place, place + len(numbers))
            place += len(numbers)

    def move(self, source: int, to: int, tokens: int, steps: int) -> None:
        """Give a row another slot."""
        self.said[:, :, to, :, :tokens] = self.said[:, :, source, :, :tokens]
        self.heard[:, :, to, :, :steps] = self.heard[:, :, source, :, :steps]
        self.queries[to, :tokens] = self.queries[source, :tokens]

    def attention(self, slot: int, first: int, stop: int, steps: int) -> Tensor:
        """How the alignment heads attended to the audio at the tokens from ``first`` to ``stop``.

        Args:
            slot: The row's.
            first: First token.
            stop: Token to stop before.
            steps: Of the audio that count; padding does not.

        Returns:
            float32 on the host, shape ``(A, stop - first, steps)``; each row sums to 1.
        """
        found: list[Tensor] = []
        for layer, (numbers, places) in self.aligned.items():
            keys = self.heard[layer, 0, slot].index_select(0, numbers)[:, :steps].float()
            asked = self.queries[slot, first:stop, places].float().transpose(0, 1)
            scores = asked @ keys.transpose(1, 2) * keys.shape[-1] ** -0.5
            found.append(scores.softmax(-1))
        return torch.cat(found).cpu()


class Network:
    """The model's weights on a device, and what is computed with them.

    Args:
        weights: From `read_weights`.
        device: As PyTorch names it.
        dtype: Of the arithmetic.
    """

    def __init__(self, weights: Weights, device: str, dtype: Tensor) -> None:
        self.shape = Shape.of(weights)
        self._w: Parts = {
            name: torch.tensor(values, device=device, dtype=dtype) for name, values in weights.items() if values.ndim
        }
        self._w["decoder/projection/weight"] = self._w.get(
            "decoder/projection/weight", self._w["decoder/embeddings/weight"]
        )

    @property
    def sample(self) -> Tensor:
        """A tensor of the network's device and type."""
        return self._w["encoder/conv1/bias"]

    def encode(self, features: Tensor) -> Tensor:
        """Turn features into what the decoder attends to.

        Args:
            features: Normalised log-mel, shape ``(B, n_mels, frames)``, of any even number of frames.

        Returns:
            Keys and values for the cross-attention of every layer, shape ``(layers, 2, B, H, frames / 2, D)``.
        """
        w = self._w
        x = functional.gelu(functional.conv1d(features, w["encoder/conv1/weight"], w["encoder/conv1/bias"], padding=1))
        x = functional.conv1d(x, w["encoder/conv2/weight"], w["encoder/conv2/bias"], stride=2, padding=1)
        x = functional.gelu(x).transpose(1, 2)
        x = x + w["encoder/position_encodings/encodings"][: x.shape[1]]
        for layer in range(self.shape.encoder_layers):
            name = f"encoder/layer_{layer}"
            queries, keys, values = self._own(x, name)
            mixed = functional.scaled_dot_product_attention(queries, keys, values)
            x = x + self._linear(self._joined(mixed), f"{name}/self_attention", 1)
            x = self._feed_forward(x, name)
        x = self._norm(x, "encoder")
        heard = [
            torch.stack(self._split(self._linear(x, f"decoder/layer_{layer}/attention", 1), 2))
            for layer in range(self.shape.decoder_layers)
        ]
        return torch.stack(heard)

    def read(self, tokens: Tensor, cache: Cache, *, first: int, steps: Tensor, longest: int) -> Tensor:
        """Let rows that begin read all their tokens at once.

        Args:
            tokens: Shape ``(B, N)``; where a row has fewer, whatever fills it up is not seen by the tokens before it.
            cache: Whose slots from ``first`` on are the rows', with the audio in place.
            first: Slot of the first row.
            steps: Of each row's audio, shape ``(B,)``.
            longest: The most of them.

        Returns:
            Shape ``(B, N, width)``.
        """
        count, length = tokens.shape
        rows = slice(first, first + count)
        heard_mask = _before(steps, longest)[:, None, None]
        x = self._embedded(tokens, self._w["decoder/position_encodings/encodings"][:length])
        for layer in range(self.shape.decoder_layers):
            name = f"decoder/layer_{layer}"
            queries, keys, values = self._own(x, name)
            cache.said[layer, 0, rows, :, :length] = keys
            cache.said[layer, 1, rows, :, :length] = values
            mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            x = x + self._linear(self._joined(mixed), f"{name}/self_attention", 1)
            queries = self._asked(x, name)
            if layer in cache.aligned:
                numbers, places = cache.aligned[layer]
                cache.queries[rows, :length, places] = queries.index_select(1, numbers).transpose(1, 2)
            x = self._listen(x, queries, cache.heard[layer, :, rows, :, :longest], heard_mask, name)
            x = self._feed_forward(x, name)
        return self._norm(x, "decoder")

    def step(
        self, tokens: Tensor, positions: Tensor, cache: Cache, *, steps: Tensor, said: int, longest: int
    ) -> Tensor:
        """Let rows go on reading, each from its own place.

        Args:
            tokens: Shape ``(B, N)``, of the rows in the first B slots.
            positions: Of these tokens, shape ``(B, N)``.
            cache: What they read before.
            steps: Of each row's audio, shape ``(B,)``.
            said: No position is as high.
            longest: No row's audio is longer.

        Returns:
            Shape ``(B, N, width)``.
        """
        count = tokens.shape[0]
        rows, every = slice(0, count), torch.arange(count, device=tokens.device)[:, None]
        said_mask = _before(positions + 1, said)[:, None]
        heard_mask = _before(steps, longest)[:, None, None]
        x = self._embedded(tokens, self._w["decoder/position_encodings/encodings"][positions])
        for layer in range(self.shape.decoder_layers):
            name = f"decoder/layer_{layer}"
            queries, keys, values = self._own(x, name)
            cache.said[layer, 0, every, :, positions] = keys.transpose(1, 2)
            cache.said[layer, 1, every, :, positions] = values.transpose(1, 2)
            mixed = functional.scaled_dot_product_attention(
                queries, cache.said[layer, 0, rows, :, :said], cache.said[layer, 1, rows, :, :said], said_mask
            )
            x = x + self._linear(self._joined(mixed), f"{name}/self_attention", 1)
            queries = self._asked(x, name)
            if layer in cache.aligned:
                numbers, places = cache.aligned[layer]
                cache.queries[:, :, places][every, positions] = queries.index_select(1, numbers).transpose(1, 2)
            x = self._listen(x, queries, cache.heard[layer, :, rows, :, :longest], heard_mask, name)
            x = self._feed_forward(x, name)
        return self._norm(x, "decoder")

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token of the vocabulary; float32, shape ``(..., vocabulary)``."""
        return functional.linear(hidden, self._w["decoder/projection/weight"]).float()

    # --- pieces -------------------------------------------------------------------------------------------------------

    def _embedded(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return functional.embedding(tokens, self._w["decoder/embeddings/weight"]) + positions

    def _own(self, x: Tensor, name: str) -> list[Tensor]:
        name = f"{name}/self_attention"
        return self._split(self._linear(self._norm(x, name), name, 0), 3)

    def _asked(self, x: Tensor, name: str) -> Tensor:
        name = f"{name}/attention"
        return self._split(self._linear(self._norm(x, name), name, 0), 1)[0]

    def _listen(self, x: Tensor, queries: Tensor, heard: Tensor, mask: Tensor, name: str) -> Tensor:
        mixed = functional.scaled_dot_product_attention(queries, heard[0], heard[1], mask)
        return x + self._linear(self._joined(mixed), f"{name}/attention", 2)

    def _feed_forward(self, x: Tensor, name: str) -> Tensor:
        inner = functional.gelu(self._linear(self._norm(x, f"{name}/ffn"), f"{name}/ffn", 0))
        return x + self._linear(inner, f"{name}/ffn", 1)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta = self._w[f"{name}/layer_norm/gamma"], self._w[f"{name}/layer_norm/beta"]
        return functional.layer_norm(x, gamma.shape, gamma, beta)

    def _linear(self, x: Tensor, name: str, number: int) -> Tensor:
        weight, bias = self._w[f"{name}/linear_{number}/weight"], self._w[f"{name}/linear_{number}/bias"]
        return functional.linear(x, weight, bias)

    def _split(self, x: Tensor, parts: int) -> list[Tensor]:
        """Take queries, keys, values apart, each of shape ``(B, H, N, D)``."""
        apart = x.unflatten(-1, (parts, self.shape.heads, self.shape.head))
        return [part.transpose(1, 2) for part in apart.unbind(-3)]

    @staticmethod
    def _joined(mixed: Tensor) -> Tensor:
        return mixed.transpose(1, 2).flatten(-2)


def _before(limits: Tensor, longest: int) -> Tensor:
    """True where a place lies before each limit; shape ``(*limits, longest)``."""
    return torch.arange(longest, device=limits.device) < limits[..., None]


def _layers(weights: Weights, part: str) -> int:
    numbers = (re.match(rf"{part}/layer_(\d+)/", name) for name in weights)
    return 1 + max(int(found[1]) for found in numbers if found)
