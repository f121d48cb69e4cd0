"""What the host is relieved of where devices make the features: processor time and bytes, by `devices.front_end`.

`python -m tests.bench.front_end_host` replays the bundled call through a session, voice activity and the messages to a
device, in one thread and as fast as it goes, with an engine that costs nothing and hears words everywhere, so that
windows are as many and as long as in a call without end. Sending is counted as far as the bytes of a message.
`--served` plays it to a real server by sockets instead, many times at once, and looks at the server's process.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from gpu.vad import SileroVad
from gpu.wire import Submit, encode
from streaming.call import CallSpec
from streaming.channel import ChannelSettings
from streaming.decoding import DecodeJob, Hypothesis, Window, Word
from tests.bench.one_thread import on_one_thread
from tests.bench.playing import play, recording_of
from tests.bench.replay import replay
from tests.bench.report import FOLDER, publish, report
from tests.bench.running import running_server, usage, usage_row
from tests.bench.scoring import Value
from tests.support.samples import bundled_call

REPEATS: Final = 7
WORD_S: Final = 0.35
MODES: Final = {"host": 80, "devices": None}
"""Who makes features, and the mel bands that windows then have."""


@dataclass(slots=True)
class Free:
    """An engine that costs nothing and hears a word every third of a second; it counts what is sent to it."""

    windows: int = 0
    seconds: float = 0.0
    sent: int = 0

    def __call__(self, window: Window) -> tuple[Hypothesis, float]:
        """Hear a window, after it crossed as it crosses to a device."""
        self.windows += 1
        self.seconds += window.seconds
        self.sent += len(encode(Submit(DecodeJob(self.windows, "call", 0, "local", window, 0.0, 1.0))))
        words = [
            Word("word", at * WORD_S, (at + 1) * WORD_S, 0.9) for at in range(max(1, int(window.seconds / WORD_S)))
        ]
        return Hypothesis(tuple(words), "en", 1.0, 0.0, "free", aligned=True), 0.05


def replayed(n_mels: int | None) -> dict[str, Value]:
    """Replay the call once, and count."""
    call = bundled_call()
    spec = CallSpec("call", "local", call.audio.format, tuple(map(str, range(call.audio.format.channels))))
    settings, engine, detector = replace(ChannelSettings(), n_mels=n_mels), Free(), SileroVad()
    began = time.process_time()
    replay(spec, call.audio.payload, detector, engine, settings)
    cpu_s = time.process_time() - began
    second = call.audio.format.rate * call.audio.format.encoding.sample_bytes * spec.sides
    channel_s = len(call.audio.payload) / second * spec.sides
    return {
        "cpu_ms_per_channel_s": round(1000 * cpu_s / channel_s, 2),
        "windows_per_channel_s": round(engine.windows / channel_s, 2),
        "mean_window_s": round(engine.seconds / engine.windows, 2),
        "kb_per_window": round(engine.sent / engine.windows / 1000, 1),
        "kb_per_channel_s": round(engine.sent / channel_s / 1000, 1),
    }


def in_process() -> list[dict[str, Value]]:
    """The modes in turn, several times; the least of the processor's time, for whoever else runs only adds to it."""
    found: dict[str, list[dict[str, Value]]] = {mode: [] for mode in MODES}
    for _ in range(REPEATS):
        for mode, n_mels in MODES.items():
            found[mode].append(replayed(n_mels))
    rows: list[dict[str, Value]] = []
    for mode, runs in found.items():
        took = min(float(str(run["cpu_ms_per_channel_s"])) for run in runs)
        rows.append({"features_by": mode} | runs[0] | {"cpu_ms_per_channel_s": took})
    return rows


async def _played(url: str, pid: int, calls: int) -> dict[str, Value]:
    recording = recording_of(bundled_call().audio)
    before = usage(pid)
    heard = await asyncio.gather(*(play(url, recording) for _ in range(calls)))
    after = usage(pid)
    sides = recording.audio.channels
    row = usage_row(before, after, calls * sides * len(recording.data) / recording.audio.second_bytes)
    failed = sum(bool(one.failure) for one in heard)
    return {"channels": calls * sides, "failed": failed, **row}


def served(console: Console, calls: int) -> list[dict[str, Value]]:
    """Two real servers, one after the other, with devices that cost next to nothing."""
    rows: list[dict[str, Value]] = []
    for front_end in ("host", "numpy"):
        settings = ["devices.engine=scripted", f"devices.front_end={front_end}", "limits.max_calls=1000"]
        settings.append("limits.max_calls_per_tenant=1000")
        with running_server(console, FOLDER / f"front-end-{front_end}.log", settings) as server:
            row: dict[str, Value] = {"front_end": front_end}
            rows.append(row | asyncio.run(_played(server.url, server.pid, calls)))
    return rows


def main(
    *,
    server: Annotated[bool, typer.Option("--served", help="Play to a real server.")] = False,
    calls: Annotated[int, typer.Option(help="Calls at a time, of two sides each, to a real server.")] = 10,
    markdown: Annotated[Path | None, typer.Option(help="Document whose section is renewed.")] = None,
) -> None:
    """Measure the host's side."""
    on_one_thread()
    console = Console()
    rows = served(console, calls) if server else in_process()
    found = report("front-end-server" if server else "front-end-host", {"call": "the bundled one"}, {}, rows)
    publish(found, "the host's side", console, markdown)


if __name__ == "__main__":
    typer.run(main)
