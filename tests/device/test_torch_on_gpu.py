"""The PyTorch engine and the front ends on a GPU: what they write is what they write on the processor.

`make test-device` runs these on a machine with a GPU; elsewhere they are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.support.models import model_folder, need_torch

need_torch()

from gpu.engines import build  # noqa: E402  torch is there
from gpu.front_end.front_end import Source, make  # noqa: E402  the same
from gpu.spec import DeviceSpec  # noqa: E402  the same
from gpu.torch_engine.engine import TorchEngine  # noqa: E402  the same
from gpu.torch_engine.untyped import torch  # noqa: E402  the same
from streaming.audio import decode, encode  # noqa: E402  the same
from streaming.call import Encoding  # noqa: E402  the same
from streaming.decoding import Hypothesis, Kind, Window  # noqa: E402  the same
from tests.support.samples import bundled_clips  # noqa: E402  the same
from tests.support.windows import both_ways, clip_features  # noqa: E402  the same

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU on this machine"),
]

SPOKEN = ("press_8k", "stay_8k", "later_8k", "printing_16k", "unusual_16k")
GPU = "cuda:0"


def windows(kind: Kind) -> list[Window]:
    return [Window(clip_features(name), kind, "en") for name in SPOKEN]


def texts(hypotheses: list[Hypothesis]) -> list[str]:
    return [hypothesis.text for hypothesis in hypotheses]


@pytest.fixture(scope="module")
def expected() -> list[str]:
    engine = TorchEngine(model_folder("tiny.en"), "tiny.en")
    heard = texts(engine.decode(windows(Kind.FINAL)))
    engine.close()
    return heard


@pytest.fixture(params=[("float32", False), ("float32", True), ("float16", True)], ids=str)
def on_gpu(request: pytest.FixtureRequest) -> Iterator[TorchEngine]:
    compute_type, graphs = request.param
    engine = TorchEngine(
        model_folder("tiny.en"), "tiny.en", device=GPU, compute_type=compute_type, slots=8, graphs=graphs
    )
    yield engine
    engine.close()


def test_a_gpu_writes_what_the_processor_writes(on_gpu: TorchEngine, expected: list[str]) -> None:
    """With graphs and without, in float32 and in float16: these clips have no ties."""
    assert texts(on_gpu.decode(windows(Kind.FINAL))) == expected


def test_graphs_are_replayed_for_rows_that_come_and_go(on_gpu: TorchEngine, expected: list[str]) -> None:
    """Two threads with their own streams, more windows than slots."""
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(on_gpu.decode, [windows(Kind.FINAL)] * 6))

    assert [texts(answer) for answer in answers] == [expected] * 6


def test_drafts_change_nothing_on_a_gpu(on_gpu: TorchEngine) -> None:
    plain = on_gpu.decode(windows(Kind.PARTIAL))
    drafted = on_gpu.decode(
        [
            replace(window, draft=hypothesis.tokens)
            for window, hypothesis in zip(windows(Kind.PARTIAL), plain, strict=True)
        ]
    )

    assert texts(drafted) == texts(plain)
    assert on_gpu.work.checked > 0


@pytest.mark.parametrize("kind", ["torch", "dali"])
@pytest.mark.parametrize("encoding", Encoding)
def test_front_ends_make_the_same_features_on_a_gpu(kind: str, encoding: Encoding) -> None:
    source = Source(encoding, 8_000)
    clips = [bundled_clips()[name].audio for name in ("press_8k", "later_8k", "keys_8k")]
    sound = [encode(decode(audio.payload, audio.format.encoding), encoding) for audio in clips]

    made = make(kind, source, 80, GPU).batch(sound, frames=1_000)

    assert made.device.type == "cuda"
    assert np.allclose(made.cpu().numpy(), make("numpy", source).batch(sound, frames=1_000), atol=1e-3)


@pytest.mark.parametrize("front_end", ["torch", "dali"])
@pytest.mark.parametrize("engine", ["torch", "whisper"])
def test_features_made_on_a_gpu_stay_there_and_give_the_words_of_the_hosts(engine: str, front_end: str) -> None:
    """On streams of their own, from two threads at a time: an engine that did not wait would hear something else."""
    audios = [bundled_clips()[name].audio for name in SPOKEN]
    carried = [
        both_ways(decode(audio.payload, audio.format.encoding), audio.format.encoding, audio.format.rate)
        for audio in audios
    ]
    spec = DeviceSpec(name="one", models=("tiny.en",), engine=engine, device=GPU, compute_type="float32")
    on_host, on_gpu = build(spec, "tiny.en"), build(replace(spec, front_end=front_end), "tiny.en")
    expected = texts(on_host.decode([Window(features, Kind.FINAL, "en") for _, features in carried]))
    windows_ = [Window(sound, Kind.FINAL, "en") for sound, _ in carried]
    on_gpu.warm_up()

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(on_gpu.decode, [windows_] * 6))

    assert [texts(answer) for answer in answers] == [expected] * 6
    on_host.close()
    on_gpu.close()
