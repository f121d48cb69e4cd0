"""`python -m scaler.sim`: what each layer is worth under the load that the product was built for, in a few minutes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from scaler.sim.batching import Deadlines, measured
from scaler.sim.fleet import simulate
from scaler.sim.hardware import A10G
from scaler.sim.queueing import Fifo
from scaler.sim.report import draw, plots_available, table
from scaler.sim.scenario import ALL, LAYERS, Happening, Kind, Scenario, Strategy, article, processors
from scaler.sim.tally import Result

PROFILE: Final = Path(__file__).parent / "profiles" / "cpu-2-cores.json"
"""What one machine with two cores was measured to do."""

SHOWN: Final = (2, 3, 5, 8)
"""Strategies that are drawn beside each other."""

Plan = tuple[Scenario, tuple[Strategy, ...]]


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
    return [
        (usual, LAYERS),
        (processors(measured(PROFILE), devices=26, most=90), beside),
        *((replace(scenario, name=f"{usual.name}; {name}"), beside) for name, scenario in named.items()),
        (
            replace(usual, name=f"{usual.name}; devices take 4 to 12 min to start"),
            (replace(ALL, name="all of it, cold start", baked=False),),
        ),
        (_shorter(usual.times(10)), beside),
    ]


def _shorter(scenario: Scenario) -> Scenario:
    """The same in half the time: ten times as many calls take ten times as long to simulate."""
    fewer = tuple(replace(each, at_s=105.0) for each in scenario.happenings)
    return replace(scenario, burst_at_s=45.0, burst_ends_s=165.0, ends_s=220.0, happenings=fewer)


def run(chosen: Sequence[Plan], seed: int, workers: int) -> list[list[Result]]:
    """Run all, several at a time, the longest first; results are in the order of the plans."""
    tasks = [(index, scenario, each) for index, (scenario, strategies) in enumerate(chosen) for each in strategies]
    tasks.sort(key=lambda task: -task[1].burst)
    with ProcessPoolExecutor(workers) as pool:
        running = {
            (index, strategy.name): pool.submit(simulate, scenario, strategy, Fifo, Deadlines, seed)
            for index, scenario, strategy in tasks
        }
        return [
            [running[index, strategy.name].result() for strategy in strategies]
            for index, (_, strategies) in enumerate(chosen)
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print the tables and draw the pictures."""
    parser = argparse.ArgumentParser(prog="python -m scaler.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of all that is random; the same seed, the same numbers")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("build/sim"), help="folder for the tables and pictures")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of scenarios, from 0; all if none is given")
    given = parser.parse_args(arguments)
    chosen = [plan for index, plan in enumerate(plans()) if not given.only or index in given.only]
    results = run(chosen, given.seed, given.workers)
    text = "\n".join(table(scenario, each) for (scenario, _), each in zip(chosen, results, strict=True))
    sys.stdout.write(f"seed {given.seed}\n\n{text}")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "sim.md").write_text(text, encoding="utf-8")
    if not plots_available():
        sys.stdout.write("\nno pictures: install the extra `plots`\n")
        return 0
    for index, ((scenario, strategies), each) in enumerate(zip(chosen, results, strict=True)):
        shown = [each[at] for at in SHOWN] if len(strategies) > max(SHOWN) else each
        draw(scenario, shown, given.out / f"sim-{index}.png")
    sys.stdout.write(f"\ntables and pictures are in {given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
