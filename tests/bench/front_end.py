"""What it costs to make features of a batch of windows, by front end.

`.venv-torch/bin/python -m tests.bench.front_end` (after `make setup-torch`) times u-law windows on one thread of the
processor; `--device cuda:0` times those front ends that a GPU runs on it, with the way of the bytes to it and until the
features are there. `rows` is for other benches. Choose by these tables, and by `tests.bench.front_end_host`: what the
host is relieved of.
"""

from __future__ import annotations

import statistics
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console

from gpu.front_end.front_end import FrontEnd, Source, make
from streaming.call import Encoding
from tests.bench.one_thread import on_one_thread
from tests.bench.report import publish, report
from tests.bench.scoring import Value
from tests.bench.stopwatch import took

SOURCE: Final = Source(Encoding.MULAW, 8_000)
SECONDS: Final = (3, 6, 10)
BATCHES: Final = (1, 16, 64)
REPEATS: Final = 7


def rows(device: str) -> list[dict[str, Value]]:
    """Time every front end that runs on a device and is installed."""
    needs = {"numpy": "numpy", "torch": "torch", "dali": "nvidia"}
    kinds = [kind for kind, needed in needs.items() if (device == "cpu" or kind != "numpy") and find_spec(needed)]
    return [row for kind in kinds for row in measure(kind, device)]


def measure(kind: str, device: str) -> list[dict[str, Value]]:
    """Time one front end."""
    front = make(kind, SOURCE, 80, device)
    sound = np.random.default_rng(1).integers(0, 256, 64 * 10 * SOURCE.rate, dtype=np.uint8).tobytes()
    found: list[dict[str, Value]] = []
    for seconds in SECONDS:
        for size in BATCHES:
            length = seconds * SOURCE.rate
            payloads = [sound[at * length : (at + 1) * length] for at in range(size)]
            work = partial(_make, front, payloads, device)
            work()
            times = [took(work) for _ in range(REPEATS)]
            found.append(
                {
                    "front_end": kind,
                    "device": device,
                    "seconds": seconds,
                    "batch": size,
                    "wall_ms_per_window": round(1000 * statistics.median(wall_s for wall_s, _ in times) / size, 3),
                    "cpu_ms_per_window": round(1000 * statistics.median(cpu_s for _, cpu_s in times) / size, 3),
                }
            )
    return found


def _make(front: FrontEnd, payloads: list[bytes], device: str) -> None:
    """Make features, until they are there."""
    features: Any = front.batch(payloads)
    assert features.shape[0] == len(payloads)
    if device != "cpu":
        torch: Any = import_module("torch")
        torch.cuda.synchronize(device)


def main(
    *,
    device: Annotated[str, typer.Option(help="cpu, or cuda: and the number of the GPU.")] = "cpu",
    markdown: Annotated[Path | None, typer.Option(help="Document whose section is renewed.")] = None,
) -> None:
    """Measure the front ends."""
    on_one_thread()
    found = report(f"front-end-{device.partition(':')[0]}", {"source": "mulaw, 8 kHz"}, {}, rows(device))
    publish(found, "front ends", Console(), markdown)


if __name__ == "__main__":
    typer.run(main)
