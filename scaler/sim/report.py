"""What simulated runs came to, as a table and as pictures."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scaler.sim.scenario import ALL, Scenario
from scaler.sim.tally import LATE_S, Result

__all__ = ["HEAD", "JUDGED", "draw", "goals", "plots_available", "row", "table"]

HEAD: Final = (
    "strategy", "finals", "failed", "p95 in burst", "worst p95", "worst final", "> 3 s in burst", "healed after",
    "moves", "503s", "turned away", "rung steps", "taken back", "idle", "promised model", "devices", "needed",
)  # fmt: skip
"""Columns of the table."""

JUDGED: Final = ALL.name
"""Begins the names of strategies that are held against the goals."""

MOST_FAILED: Final = 49
MOST_HEAL_S: Final = 60.0
MOST_IDLE: Final = 0.05
MOST_TURNS: Final = 0.05
"""Of the changes of rung."""


def row(result: Result, counted_s: float) -> tuple[str, ...]:
    """One run as cells.

    Args:
        result: The run.
        counted_s: Seconds that its device time was counted over.
    """
    return (
        result.strategy,
        str(result.finals),
        str(result.failed),
        f"{result.burst_p95_s:.2f} s",
        f"{result.worst_p95_s:.2f} s",
        f"{result.worst_s:.1f} s",
        f"{result.late_share:.1%}",
        "never" if math.isinf(result.heal_s) else f"{result.heal_s:.0f} s",
        str(result.moves),
        str(result.refused),
        str(result.turned_away),
        str(result.steps),
        str(result.turns),
        f"{result.idle:.1%}",
        f"{result.kept_share:.0%}",
        f"{result.device_s / counted_s:.1f}",
        f"{result.needed_s / counted_s:.1f}",
    )


def goals(result: Result, counted_s: float) -> str:
    """Say of a run which goals it met, in a line of Markdown.

    Args:
        result: The run, or the worst of several.
        counted_s: Seconds that its device time was counted over.
    """
    held = (
        (f"failed {result.failed}, fewer than {MOST_FAILED + 1}", result.failed <= MOST_FAILED),
        (f"p95 {result.worst_p95_s:.2f} s at the worst, at most {LATE_S:g} s", result.worst_p95_s <= LATE_S),
        (f"healed after {result.heal_s:.0f} s, under {MOST_HEAL_S:g} s", result.heal_s < MOST_HEAL_S),
        (f"idle {result.idle:.1%}, under {MOST_IDLE:.0%}", result.idle < MOST_IDLE),
        (f"{result.turns} of {result.steps} steps taken back, under {MOST_TURNS:.0%}", result.turned < MOST_TURNS),
    )
    said = "; ".join(f"{text}: {'yes' if good else '**no**'}" for text, good in held)
    return (
        f"Goals, {result.strategy}: {said}. One warm device is {counted_s / result.device_s:.1%} of what is paid for."
    )


def table(scenario: Scenario, results: Sequence[Result]) -> str:
    """Return runs of one scenario as Markdown, and what became of the goals where all layers were there."""
    counted_s = scenario.ends_s - scenario.warm_up_s
    about = f"**{scenario.name}**; at first {scenario.devices} devices, at most {scenario.most}; "
    hot = scenario.hot_share > 0
    head = (*HEAD, "the tenant's p95") if hot else HEAD
    lines = [
        f"{about}{scenario.hardware.name}: {scenario.hardware.provenance}",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for result in results:
        cells = row(result, counted_s)
        lines.append("| " + " | ".join((*cells, f"{result.hot_p95_s:.2f} s") if hot else cells) + " |")
    judged = [goals(result, counted_s) for result in results if result.strategy.startswith(JUDGED)]
    return "\n".join([*lines, *(line for each in judged for line in ("", each))]) + "\n"


def plots_available() -> bool:
    """Tell whether pictures can be drawn: they need the extra ``plots``."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(scenario: Scenario, results: Sequence[Result], file: Path) -> None:
    """Draw runs of one scenario under each other in time: calls and devices, latency, rung, idle devices, moves.

    Args:
        scenario: Theirs.
        results: One column each.
        file: PNG.
    """
    import matplotlib as mpl  # noqa: PLC0415  only who draws needs it

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  as above

    figure, axes = plt.subplots(
        5, len(results), figsize=(4.5 * len(results), 11), sharex=True, sharey="row", squeeze=False
    )
    for column, result in enumerate(results):
        at = [moment.at for moment in result.moments]
        calls, latency, rung, idle, moves = (axes[line][column] for line in range(5))
        calls.set_title(result.strategy, fontsize=10)
        calls.plot(at, [moment.calls for moment in result.moments], label="calls")
        calls.plot(at, [10 * moment.devices for moment in result.moments], label="devices x 10")
        latency.semilogy(at, [max(0.05, moment.p95_s) for moment in result.moments], color="tab:red")
        latency.axhline(3.0, color="black", linewidth=0.8, linestyle="--")
        rung.plot(at, [moment.rung for moment in result.moments], color="tab:green")
        rung.axhline(scenario.promised, color="black", linewidth=0.8, linestyle="--")
        idle.plot(at, [100 * moment.idle for moment in result.moments], color="tab:gray")
        moves.bar(at, [moment.moves for moment in result.moments], width=1.0, label="moves")
        moves.bar(at, [moment.refused for moment in result.moments], width=1.0, label="503s")
        for happening in scenario.happenings:
            for panel in (calls, latency, rung, idle, moves):
                panel.axvline(happening.at_s, color="black", linewidth=0.5)
        moves.set_xlabel("seconds")
        for panel in (calls, moves):
            panel.legend(fontsize=8)
    for line, label in enumerate(
        ("calls, devices", "p95 of finals, s", "mean rung (0 is best)", "idle, %", "per second")
    ):
        axes[line][0].set_ylabel(label)
    figure.suptitle(f"{scenario.name}: {scenario.hardware.provenance}", fontsize=10)  # pyright: ignore[reportUnknownMemberType]  partly typed
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)  # pyright: ignore[reportUnknownMemberType]  partly typed
    plt.close(figure)
