"""Audio handed out in real time, on a clock that stands still unless told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import pytest

from trunkline.messages import Audio
from trunkline.pacing import paced

AUDIO = Audio("mulaw", 8000)
FRAME = b"\xff" * 160


class Clock:
    """A clock that goes on only while somebody sleeps, and each time a little too long, as real ones do."""

    def __init__(self, *, oversleep_s: float = 0.0) -> None:
        self.now = 50.0
        self._oversleep_s = oversleep_s

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self._oversleep_s


async def given(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_chunk_comes_when_its_last_sample_is_spoken() -> None:
    """That is when a telephone has it, so latencies count from there."""
    clock = Clock()
    times = [
        (until_s, clock.now - 50.0, late_s)
        async for until_s, late_s, _ in paced(given([FRAME] * 3), AUDIO, clock=clock, sleep=clock.sleep)
    ]

    assert times == [pytest.approx((end, end, 0.0), abs=1e-9) for end in (0.02, 0.04, 0.06)]


async def test_oversleeping_does_not_add_up() -> None:
    """A hundredth of a frame too long each time would be seconds within the hour."""
    clock = Clock(oversleep_s=0.005)
    async for _ in paced(given([FRAME] * 5000), AUDIO, clock=clock, sleep=clock.sleep):
        pass

    assert clock.now - 50.0 == pytest.approx(100.005)


async def test_what_is_late_is_sent_at_once_and_told() -> None:
    """A load generator that cannot keep up must say so, not report the server as slow."""
    clock = Clock()
    late: list[float] = []
    async for _, late_s, _ in paced(given([FRAME] * 4), AUDIO, clock=clock, sleep=clock.sleep):
        late.append(late_s)
        if len(late) == 1:
            clock.now += 0.05

    assert late == pytest.approx([0.0, 0.03, 0.01, 0.0])


async def test_fast_means_a_head_start_and_a_higher_speed() -> None:
    """Servers allow both, each within bounds."""
    clock = Clock()
    paces = paced(given([FRAME] * 200), AUDIO, speed=2.0, ahead_s=1.0, clock=clock, sleep=clock.sleep)
    times = {round(until_s, 2): clock.now - 50.0 async for until_s, _, _ in paces}

    assert times[1.0] == 0.0
    assert times[4.0] == pytest.approx(1.5)


async def test_nothing_is_changed_on_the_way() -> None:
    """Pacing is about when, never about what."""
    chunks = [bytes([number]) * (number + 1) for number in range(20)]
    clock = Clock()

    assert [chunk async for _, _, chunk in paced(given(chunks), AUDIO, clock=clock, sleep=clock.sleep)] == chunks
