"""How fast a peer may be: token buckets that are told the time."""

from __future__ import annotations


class TokenBucket:
    """Lets an amount through at a steady rate, with a burst saved up.

    Args:
        rate: Amount gained per second, over 0.
        burst: The most that can be saved up, over 0; a new bucket is full.
        now: Monotonic seconds.
    """

    __slots__ = ("_at", "_burst", "_rate", "level")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._at = now
        self.level = burst
        """Amount left; below 0 after an overdraft."""

    def take(self, amount: float, now: float) -> bool:
        """Take an amount out, even where too little is left.

        Returns:
            Whether enough was there.
        """
        self.level = min(self._burst, self.level + (now - self._at) * self._rate) - amount
        self._at = now
        return self.level >= 0
