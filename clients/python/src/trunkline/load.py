"""Many calls at once: what the load generator does, without its screen."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from trunkline.audio import Recording
from trunkline.bridge import Played, play
from trunkline.errors import CallFailed, ConnectionLost, Refused, TrunklineError, Unreachable
from trunkline.framing import FRAMINGS
from trunkline.reference import Reference
from trunkline.timing import Latencies, Spread, spread

TOO_LATE_S: Final = 0.1
"""How late audio may be sent before the generator counts as overloaded itself, in seconds."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to do."""

    calls: int
    framing: str
    """``native``, ``deepgram`` or ``twilio``."""
    recording: Recording
    reference: Reference | None
    """What is said in the recording, or None to go by what the server says."""
    labels: tuple[str, ...]
    ramp_s: float
    """Seconds over which the calls begin, evenly."""
    duration_s: float | None
    """Length of each call, in seconds; None for the recording's."""


@dataclass(slots=True)
class Tally:
    """What came of it so far."""

    waiting: int
    talking: int = 0
    done: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    """Calls that failed, by code."""
    latencies: Latencies = field(default_factory=Latencies)
    setups_s: list[float] = field(default_factory=list[float])
    late_s: float = 0.0
    """The most that this machine sent audio too late, in seconds."""
    refused: TrunklineError | None = None
    """Why the first call that was never taken was not."""

    @property
    def failed(self) -> int:
        """Calls that failed."""
        return self.errors.total()

    def add(self, played: Played) -> None:
        """Count a call that went well."""
        self.done += 1
        self.latencies += played.latencies
        self.setups_s.append(played.setup_s)
        self.late_s = max(self.late_s, played.late_s)

    def add_failure(self, problem: TrunklineError) -> None:
        """Count a call that did not."""
        self.errors[code_of(problem)] += 1
        if self.refused is None and isinstance(problem, Refused | Unreachable):
            self.refused = problem


def code_of(problem: TrunklineError) -> str:
    """Return what a failure is called where failures are counted."""
    match problem:
        case Refused() | CallFailed():
            return problem.code
        case Unreachable():
            return "unreachable"
        case ConnectionLost():
            return f"closed_{problem.close_code}"
        case _:
            return "failed"


async def run_load(
    load: Load, server: str, key: str | None, on_change: Callable[[Tally], None] = lambda _tally: None
) -> Tally:
    """Make all the calls, each in real time.

    Args:
        load: What to do.
        server: Address of the server.
        key: API key.
        on_change: Is told the state whenever a call begins or ends.

    Raises:
        ValueError: If the recording does not fit the framing.
    """
    tally = Tally(waiting=load.calls)
    make = FRAMINGS[load.framing]
    make(load.recording.audio, load.labels, key)  # so that an unfit recording fails here, not a thousand times

    async def call(number: int) -> None:
        await asyncio.sleep(number * load.ramp_s / load.calls)
        tally.waiting -= 1
        tally.talking += 1
        on_change(tally)
        try:
            tally.add(
                await play(
                    make(load.recording.audio, load.labels, key),
                    server,
                    load.recording,
                    turns=None if load.reference is None else load.reference.turns,
                    duration_s=load.duration_s,
                    key=key,
                )
            )
        except TrunklineError as problem:
            tally.add_failure(problem)
        finally:
            tally.talking -= 1
        on_change(tally)

    async with asyncio.TaskGroup() as tasks:
        for number in range(load.calls):
            tasks.create_task(call(number), name=f"load-{number}")
    return tally


def report(load: Load, tally: Tally) -> dict[str, object]:
    """Return the outcome as JSON has it."""
    return {
        "framing": load.framing,
        "calls": load.calls,
        "done": tally.done,
        "failed": tally.failed,
        "errors": dict(tally.errors),
        "ramp_s": load.ramp_s,
        "call_s": round(load.recording.seconds if load.duration_s is None else load.duration_s, 3),
        "first_partial_s": _cells(tally.latencies.first_partial_s),
        "final_s": _cells(tally.latencies.final_s),
        "setup_s": _cells(tally.setups_s),
        "turns": tally.latencies.turns,
        "unheard": tally.latencies.unheard,
        "unfinished": tally.latencies.unfinished,
        "generator_late_s": round(tally.late_s, 3),
    }


def _cells(values: Sequence[float]) -> Mapping[str, float | int | None]:
    found: Spread = spread(values)
    return {name: None if math.isnan(value) else round(value, 3) for name, value in asdict(found).items()}
