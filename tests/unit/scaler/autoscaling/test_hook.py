"""The operator's command is told when the number changes, and only then."""

from __future__ import annotations

import asyncio
from pathlib import Path

from scaler.autoscaling.errors import NoAnswer
from scaler.autoscaling.hook import Hook

LIMIT_S = 10.0
WRITES = ("sh", "-c", 'echo "$TRUNKLINE_PREVIOUS_SHARDS>$TRUNKLINE_DESIRED_SHARDS" >> "$0"')


class Numbers:
    """Says one number after another; None stands for no answer."""

    def __init__(self, *numbers: int | None) -> None:
        self._numbers = iter(numbers)
        self.asked = asyncio.Event()

    async def read(self) -> int:
        self.asked.set()
        number = next(self._numbers)
        if number is None:
            raise NoAnswer("nobody answers")
        return number


async def looked(hook: Hook, times: int) -> None:
    for _ in range(times):
        await hook.look()


async def test_the_command_runs_once_for_each_change(tmp_path: Path) -> None:
    """The policy has already waited long enough; the hook neither repeats nor delays it."""
    told = tmp_path / "told"

    await looked(Hook(Numbers(3, 3, 4, 4, 2), (*WRITES, str(told)), LIMIT_S), 5)

    assert told.read_text().split() == [">3", "3>4", "4>2"]


async def test_not_knowing_changes_nothing(tmp_path: Path) -> None:
    """A network that fails must not start or end machines."""
    told = tmp_path / "told"

    await looked(Hook(Numbers(3, None, None, 3), (*WRITES, str(told)), LIMIT_S), 4)

    assert told.read_text().split() == [">3"]


async def test_a_command_that_fails_is_run_again_with_the_newest_number(tmp_path: Path) -> None:
    """A cloud that refuses once must not leave the pool too small for good."""
    told = tmp_path / "told"
    fails_first = ("sh", "-c", 'echo "$TRUNKLINE_DESIRED_SHARDS" >> "$0"; test "$TRUNKLINE_DESIRED_SHARDS" != 3')
    hook = Hook(Numbers(3, 3, 4), (*fails_first, str(told)), LIMIT_S)

    await looked(hook, 3)

    assert told.read_text().split() == ["3", "3", "4"]
    assert hook.done == 4


async def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """It would otherwise keep every later number from being carried out."""
    hook = Hook(Numbers(3), ("sh", "-c", 'exec sleep 60 "$0"', str(tmp_path)), limit_s=0.05)

    await hook.look()

    assert hook.done is None


async def test_a_command_that_is_not_there_is_said_and_tried_again() -> None:
    """The machine may get it while the hook runs."""
    hook = Hook(Numbers(3), ("/nowhere/scale",), LIMIT_S)

    await hook.look()

    assert hook.done is None


async def test_it_looks_until_it_is_told_to_stop_and_finishes_what_it_began(tmp_path: Path) -> None:
    """A stop waits for a command under way, and not for the next look."""
    stop = asyncio.Event()
    told = tmp_path / "told"
    numbers = Numbers(3)
    running = asyncio.create_task(Hook(numbers, (*WRITES, str(told)), LIMIT_S).run(3600.0, stop))
    await numbers.asked.wait()

    stop.set()
    await running

    assert told.read_text().split() == [">3"]
