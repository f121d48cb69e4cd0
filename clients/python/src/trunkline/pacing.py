"""Audio handed out when it would have been spoken, and no sooner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Final

from trunkline.messages import Audio

FAST_SPEED: Final = 1.2
"""How many times faster than real time a server takes audio without complaint, unless told otherwise."""
FAST_AHEAD_S: Final = 50.0
"""Seconds of audio that a server takes at once, unless told otherwise."""


async def paced(
    chunks: AsyncIterable[bytes],
    audio: Audio,
    *,
    speed: float = 1.0,
    ahead_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[tuple[float, float, bytes]]:
    """Hand out chunks of audio, each when its last sample would have been recorded.

    Every chunk is due by the clock at the first one, so delays do not add up: what is late is sent at once.

    Args:
        chunks: Audio, channels interleaved.
        audio: What it is.
        speed: Seconds of audio a second.
        ahead_s: Seconds of audio handed out at once, before anything is waited for.
        clock: Monotonic seconds.
        sleep: Waits for seconds.

    Yields:
        Where the chunk ends, in seconds of audio; how late it is, in seconds; the chunk.
    """
    began = clock()
    sent_bytes = 0
    async for chunk in chunks:
        sent_bytes += len(chunk)
        until_s = sent_bytes / audio.second_bytes
        wait_s = began + (until_s - ahead_s) / speed - clock()
        if wait_s > 0:
            await sleep(wait_s)
        yield until_s, max(0.0, -wait_s), chunk
