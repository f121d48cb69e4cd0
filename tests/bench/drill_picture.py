"""The picture of a drill: calls, rungs, latencies, load and moves over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from tests.bench.diary import LATE_S, Diary

COLOURS: Final = ("orange", "red", "green", "blue")
"""Of what was done, in the order in which it began."""
MOST_S: Final = 5.0
"""Where waits are cut off: what a device that starts says is no wait."""
AT_ONCE_S: Final = 1.0
"""Shorter happenings are lines."""


class Panel(Protocol):
    """What is used of matplotlib's axes, whose own types are incomplete."""

    def plot(self, x: Sequence[float], y: Sequence[float], style: str, /, *, label: str) -> object:
        """Draw a line."""
        ...

    def step(self, x: Sequence[float], y: Sequence[float], /, *, label: str) -> object:
        """Draw a line of steps."""
        ...

    def axhline(self, y: float, /, *, color: str, linewidth: float, linestyle: str) -> object:
        """Draw a line across."""
        ...

    def axvline(self, x: float, /, *, color: str, label: str) -> object:
        """Draw a line from top to bottom."""
        ...

    def axvspan(self, begin: float, end: float, /, *, color: str, alpha: float, label: str) -> object:
        """Colour a stretch."""
        ...


def draw(diary: Diary, file: Path) -> None:
    """Draw a drill."""
    import matplotlib as mpl  # noqa: PLC0415  only who draws needs it

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  as above

    figure, (calls, rung, latency, load, moves) = plt.subplots(5, 1, figsize=(11, 13), sharex=True)
    _calls(calls, diary)
    _steps(rung, diary, {"rung": "rung (0 is the best)", "devices": "devices ready"})
    _latencies(latency, diary)
    _load(load, diary)
    _steps(
        moves, diary, {"moved": "slots come because another had too much to do", "drained": "slots of one that ends"}
    )
    moves.set_xlabel("seconds")
    for panel in (calls, rung, latency, load, moves):
        _mark(panel, diary)
        panel.legend(fontsize=7, loc="upper left", ncols=2)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)  # pyright: ignore[reportUnknownMemberType]  partly typed
    plt.close(figure)


def _calls(panel: Panel, diary: Diary) -> None:
    for who in diary.processes("calls"):
        _line(panel, diary.of("calls", who), f"calls, {who}")
    for who in diary.processes("room"):
        _line(panel, diary.of("room", who), f"room for more, {who}", style=":")
    panel.plot([each.at for each in diary.refused], [0.0] * len(diary.refused), "rx", label="refused")


def _steps(panel: Panel, diary: Diary, names: dict[str, str]) -> None:
    for name, title in names.items():
        for who in diary.processes(name):
            said = diary.of(name, who)
            panel.step([at for at, _ in said], [value for _, value in said], label=f"{title}, {who}")


def _latencies(panel: Panel, diary: Diary) -> None:
    for model in sorted({said.final.model for said in diary.finals}):
        mine = [(said.at, said.latency_s) for said in diary.finals if said.final.model == model]
        panel.plot([at for at, _ in mine], [late for _, late in mine], ".", label=f"finals of {model}")
    for who in diary.processes("p95"):
        _line(panel, diary.of("p95", who), f"p95, s, {who}")
    panel.axhline(LATE_S, color="black", linewidth=0.8, linestyle="--")


def _load(panel: Panel, diary: Diary) -> None:
    for who in diary.processes("used"):
        _line(panel, diary.of("used", who), f"utilisation at the best rung, {who}")
        _line(panel, diary.of("wait", who), f"expected wait, s, {who}", style=":")


def _line(panel: Panel, said: list[tuple[float, float]], title: str, style: str = "-") -> None:
    panel.plot([at for at, _ in said], [min(value, MOST_S * 10) for _, value in said], style, label=title)


def _mark(panel: Panel, diary: Diary) -> None:
    for happening, colour in zip(sorted(diary.happenings, key=lambda each: each.begin_s), COLOURS, strict=False):
        if happening.end_s - happening.begin_s < AT_ONCE_S:
            panel.axvline(happening.begin_s, color=colour, label=happening.name)
        else:
            panel.axvspan(happening.begin_s, happening.end_s, color=colour, alpha=0.12, label=happening.name)
