"""The shard: the calls of the slots it owns, alone on its log or one of many.

Alone it claims its slots itself. Among others (``scaler.membership``) a coordinator says which slots are its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from scaler.calls import IDLE_S, Calls, Decoder, Observer
from scaler.ears import SpeechDetector
from scaler.governor import Governor
from scaler.membership import Membership, Policy, claim_key
from scaler.slots import Slots
from streaming.channel import ChannelSettings
from streaming.log import Log, Topic
from streaming.record_codec import encode
from streaming.records import Claim

__all__ = ["IDLE_S", "Shard"]

ALONE: Final = "standalone"
"""Name of a shard that has its log to itself."""


class Shard:
    """Runs the calls of the slots it owns.

    Args:
        log: Where audio comes from and text goes.
        detector: Voice activity.
        decoder: The devices.
        settings: Tuning of every channel.
        governor: Decides about load.
        observer: Hears what was done.
        idle_s: Seconds without a record after which a call is ended: whoever wrote its audio must be gone.
        name: Of this shard; another one each time it starts.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        log: Log,
        detector: SpeechDetector,
        decoder: Decoder,
        *,
        settings: ChannelSettings,
        governor: Governor,
        observer: Observer,
        idle_s: float = IDLE_S,
        name: str = ALONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._name = name
        self._clock = clock
        self._decoder = decoder
        self._observer = observer
        self._calls = Calls(
            detector, decoder, settings=settings, governor=governor, observer=observer, idle_s=idle_s, clock=clock
        )
        self._slots = Slots(log, name, self._calls, observer=observer, given_up=self._given_up)
        self._member: Membership | None = None
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def calls(self) -> int:
        """Calls in progress."""
        return len(self._calls)

    @property
    def slots(self) -> tuple[int, ...]:
        """Slots whose calls are served."""
        return self._slots.serving

    async def run(self, slots: Iterable[int], started: asyncio.Event) -> None:
        """Own these slots until cancelled: nobody else may be on the log.

        Args:
            slots: To own.
            started: Set once all are served.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._calls.run(), name="shard-calls")
            tasks.create_task(self._slots.run(), name="shard-slots")
            wanted = tuple(slots)
            for slot in wanted:
                await self._claim(slot)
            await self._slots.until(lambda: set(self._slots.serving) >= set(wanted))
            started.set()

    async def join(self, joined: asyncio.Event, leave: asyncio.Event, *, drain_s: float, policy: Policy) -> None:
        """Be one of many: serve the slots that are claimed for this shard, and lead if nobody else does.

        Args:
            joined: Set once this shard has said that it lives.
            leave: Asks it to give its slots away; the method returns once others serve them.
            drain_s: Longest time, in seconds, that this may take.
            policy: Decides about moves while this shard leads.
        """
        self._member = Membership(
            self._log,
            self._name,
            self._slots,
            calls=self._calls,
            policy=policy,
            observer=self._observer,
            clock=self._clock,
        )
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._calls.run(), name="shard-calls"),
                tasks.create_task(self._slots.run(), name="shard-slots"),
                tasks.create_task(self._member.run(joined), name="shard-member"),
            ]
            await leave.wait()
            await self._member.leave(drain_s)
            for task in running:
                task.cancel()

    async def _claim(self, slot: int) -> None:
        claim = Claim(slot, self._name, self._name, "new")
        offset = await (await self._log.append(Topic.CONTROL, 0, claim_key(slot), encode(claim)))
        self._slots.claim(slot, offset)

    def _given_up(self, slot: int, epoch: int) -> None:
        if self._member is not None:
            self._member.claim_again(slot, epoch)
        elif self._tasks is not None:
            self._tasks.create_task(self._claim(slot), name="shard-claim")
