"""``make chaos``: a cluster of real processes on a real Kafka, disturbed in the middle of calls.

One line for each disturbance: what was done, words lost and repeated, finals changed, seconds until new text came
again. Exit code 0 only if the first three are 0 everywhere and text came again in time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from tests.chaos.disturbances import DISTURBANCES, Disturbance, Stage
from tests.chaos.load import Load
from tests.chaos.speech import speak
from tests.support.cluster import cluster_on
from tests.support.kafka_broker import KafkaCluster
from tests.support.ports import HOST, free_ports
from tests.support.wire import wired

SPEECH: Final = "speech"
BEFORE_S: Final = 8.0
"""Seconds that calls go on undisturbed first."""


async def disturb(disturbance: Disturbance, calls: int, talk: int, seed: int) -> bool:
    """Do one thing to a fresh cluster, print what became of the calls, and return whether all was well."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trunkline-chaos-")))
        (back_port,) = free_ports(1)
        seen_at = {"advertised.listeners": f"PLAINTEXT://{HOST}:{back_port}"} if disturbance.brokers == 1 else {}
        brokers = await asyncio.to_thread(KafkaCluster, disturbance.brokers, settings=seen_at)
        stack.callback(brokers.stop)
        back = await stack.enter_async_context(wired(int(brokers.bootstrap.rpartition(":")[2]), port=back_port))
        bootstrap = f"{HOST}:{back_port}" if disturbance.brokers == 1 else brokers.bootstrap
        prefix = "chaos"
        cluster = stack.enter_context(cluster_on(bootstrap, folder, prefix=prefix))
        await asyncio.to_thread(cluster.start, gateways=2, shards=2)
        front = await stack.enter_async_context(wired(*(each.port for each in cluster.gateways.values())))
        load = Load(f"ws://{HOST}:{front.port}", calls, talk)
        stage = Stage(cluster, brokers, front, back, load, prefix, random.Random(seed))  # noqa: S311 - no secret
        playing = asyncio.create_task(load.run())
        await asyncio.sleep(BEFORE_S)
        await disturbance.do(stage)
        await playing
    return report(disturbance, load, time.monotonic() - began)


def report(disturbance: Disturbance, load: Load, took_s: float) -> bool:
    """Print the line of a disturbance, and return whether all was well."""
    verdict = load.verdict()
    median_s, worst_s = load.partials_again_s()
    good = verdict.good and worst_s <= disturbance.within_s and not load.problems
    print(  # noqa: T201 - what the command is for
        f"{'ok  ' if good else 'FAIL'} {disturbance.name:16} lost {verdict.lost}, repeated {verdict.repeated}, "
        f"changed {verdict.changed}; text again after {median_s:.1f} s, slowest call {worst_s:.1f} s "
        f"({disturbance.what}; {took_s:.0f} s)",
        flush=True,
    )
    for problem in load.problems:
        print(f"     a call ended: {problem}", flush=True)  # noqa: T201
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the disturbances that are named, or all."""
    names = [*(each.name for each in DISTURBANCES), SPEECH]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--calls", type=int, default=6, help="two-sided calls at a time")
    parser.add_argument("--talk", type=int, default=14, help="sentences of each side, about 2.2 s each")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.names) - set(names)
    if unknown:
        parser.error(f"no disturbance is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    print(f"{chosen.calls} calls; seed {chosen.seed}", flush=True)  # noqa: T201
    good = True
    for disturbance in DISTURBANCES:
        if not chosen.names or disturbance.name in chosen.names:
            good &= asyncio.run(disturb(disturbance, chosen.calls, chosen.talk, chosen.seed))
    if not chosen.names or SPEECH in chosen.names:
        good &= asyncio.run(speak())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
