"""`python -m scaler.sim`: what each layer is worth under the load that the product was built for, in a few minutes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from scaler.sim.batching import Deadlines, measured
from scaler.sim.fleet import simulate
from scaler.sim.hardware import A10G
from scaler.sim.queueing import Fifo
from scaler.sim.report import JUDGED, draw, plots_available, table
from scaler.sim.scenario import ALL, LAYERS, Happening, Kind, Scenario, Strategy, article, processors
from scaler.sim.tally import Result, worst

PROFILE: Final = Path(__file__).parent / "profiles" / "cpu-2-cores.json"
"""What one machine with two cores was measured to do."""

SHOWN: Final = (2, 3, 5, 8)
"""Strategies that are drawn beside each other."""

SEEDS: Final = 3
"""Runs of what is held against the goals, each with another seed: the worst of each figure is what is shown."""


class Plan(NamedTuple):
    """What is tried."""

    scenario: Scenario
    strategies: tuple[Strategy, ...]
    seeds: int = SEEDS
    """Runs of what is held against the goals, unless the command says how many."""


def plans() -> list[Plan]:
    """All scenarios, each with the strategies that are tried in it."""
    usual = article(A10G, devices=9, most=30)
    beside = (LAYERS[3], ALL)
    spot = tuple(Happening(210.0, Kind.SPOT) for _ in range(3))
    named = {
        "three spot machines taken away at once": replace(usual, happenings=spot),
        "a device three times slower for a minute": replace(usual, happenings=(Happening(210.0, Kind.SLOW),)),
        "a tenant with 40 % of the calls, who speaks twice as much": replace(usual, hot_share=0.4, most=45),
        "no burst and nothing happens: noise alone": replace(usual, burst=usual.base + 1, happenings=()),
    }
    cold = replace(ALL, name=f"{ALL.name}, cold start", baked=False)
    return [
        Plan(usual, LAYERS),
        Plan(processors(measured(PROFILE), devices=12, most=45), beside),
        *(Plan(replace(scenario, name=f"{usual.name}; {name}"), beside) for name, scenario in named.items()),
        Plan(replace(usual, name=f"{usual.name}; devices take 4 to 12 min to start"), (cold,)),
        Plan(_shorter(usual.times(10)), (ALL,), seeds=1),
    ]


def _shorter(scenario: Scenario) -> Scenario:
    """The same in half the time: ten times as many calls take ten times as long to simulate."""
    fewer = tuple(replace(each, at_s=105.0) for each in scenario.happenings)
    return replace(scenario, burst_at_s=45.0, burst_ends_s=165.0, ends_s=220.0, happenings=fewer)


def run(chosen: Sequence[Plan], first: int, seeds: int | None, workers: int) -> list[list[Result]]:
    """Run all, several at a time, the longest first.

    Args:
        chosen: What is tried.
        first: The first seed, and the only one of what is there to compare with.
        seeds: How many for what is held against the goals; None for as many as each plan says.
        workers: Runs at a time.

    Returns:
        A result of each strategy of each plan: of several seeds the worst of each figure.
    """
    with ProcessPoolExecutor(workers) as pool:

        def start(plan: Plan, strategy: Strategy) -> list[Future[Result]]:
            count = (seeds or plan.seeds) if strategy.name.startswith(JUDGED) else 1
            return [
                pool.submit(simulate, plan.scenario, strategy, Fifo, Deadlines, first + more) for more in range(count)
            ]

        longest = sorted(range(len(chosen)), key=lambda index: -chosen[index].scenario.burst)
        running = {index: [start(chosen[index], each) for each in chosen[index].strategies] for index in longest}
        return [[_together(runs) for runs in running[index]] for index in range(len(chosen))]


def _together(runs: Sequence[Future[Result]]) -> Result:
    results = [each.result() for each in runs]
    if len(results) == 1:
        return results[0]
    shown = worst(results)
    return replace(shown, strategy=f"{shown.strategy}; worst of {len(results)} seeds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print the tables and draw the pictures."""
    parser = argparse.ArgumentParser(prog="python -m scaler.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first; the same seeds, the same numbers")
    parser.add_argument("--seeds", type=int, help=f"of what is held against the goals; {SEEDS} or 1")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("build/sim"), help="folder for the tables and pictures")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of scenarios, from 0; all if none is given")
    given = parser.parse_args(arguments)
    chosen = [plan for index, plan in enumerate(plans()) if not given.only or index in given.only]
    began = time.monotonic()
    results = run(chosen, given.seed, given.seeds, given.workers)
    text = "\n".join(table(plan.scenario, each) for plan, each in zip(chosen, results, strict=True))
    sys.stdout.write(f"seeds from {given.seed}, {time.monotonic() - began:.0f} s\n\n{text}")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "sim.md").write_text(text, encoding="utf-8")
    if not plots_available():
        sys.stdout.write("\nno pictures: install the extra `plots`\n")
        return 0
    for index, (plan, each) in enumerate(zip(chosen, results, strict=True)):
        shown = [each[at] for at in SHOWN] if len(each) > max(SHOWN) else each
        draw(plan.scenario, shown, given.out / f"sim-{index}.png")
    sys.stdout.write(f"\ntables and pictures are in {given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
