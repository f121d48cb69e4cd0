"""The output of whole calls, record by record, for tests of what follows it."""

from __future__ import annotations

import random
from dataclasses import replace

from streaming.records import CallClosed, CallStarted, Fence, OutRecord
from tests.support.dialects import final


def started(call: str, epoch: int = 0, tenant: str = "acme") -> CallStarted:
    """Return the beginning of a two-sided call."""
    return CallStarted(epoch, call, tenant, ("customer", "agent"), "twilio", 1_795_000_000.0)


def a_call(call: str, finals: int, epoch: int = 0) -> list[OutRecord]:
    """Return a whole call whose finals are a second each, on both sides in turn."""
    said = [
        replace(final(f"w{n}", n // 2, n // 2 + 1, channel=n % 2, number=n // 2), call=call, epoch=epoch)
        for n in range(finals)
    ]
    return [started(call, epoch), *said, CallClosed(epoch, call, "hangup", finals / 2, 0.0)]


def calls_in_a_slot(dice: random.Random, calls: int) -> list[OutRecord]:
    """Return the output of a slot: calls that overlap, owners that change, and what former owners write late."""
    waiting = [a_call(f"call-{number}", dice.randint(0, 6)) for number in range(calls)]
    epoch, written = 0, list[OutRecord]([Fence(0, "first")])
    while waiting:
        roll = dice.random()
        if roll < 0.1:
            epoch += 1
            written.append(Fence(epoch, f"owner-{epoch}"))
        elif roll < 0.2 and epoch:
            late = dice.choice(dice.choice(waiting))
            written.append(replace(late, epoch=dice.randrange(epoch)))
        else:
            call = dice.choice(waiting[:3])
            written.append(replace(call.pop(0), epoch=epoch))
            if not call:
                waiting.remove(call)
    return written
