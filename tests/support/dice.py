"""Random numbers that can be thrown again."""

from __future__ import annotations

import os
import random


def dice() -> random.Random:
    """Return numbers of a seed that is shown if the test fails, and can be given."""
    seed = int(os.environ.get("TRUNKLINE_FUZZ_SEED", "0")) or random.randrange(1, 1 << 32)  # noqa: S311 - no secret
    print(f"seed {seed}: set TRUNKLINE_FUZZ_SEED to see it again")  # noqa: T201 - shown if the test fails
    return random.Random(seed)  # noqa: S311 - no secret


def thrown(seed: int) -> random.Random:
    """Return the numbers of a seed."""
    return random.Random(seed)  # noqa: S311 - no secret
