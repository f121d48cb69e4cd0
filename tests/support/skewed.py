"""Runs the server with a wrong clock: ``python -m tests.support.skewed SECONDS ROLE ...``."""

from __future__ import annotations

import sys
import time


def main() -> int:
    """Take the first argument for how far the clock is ahead, and pass the others on."""
    ahead_s = float(sys.argv.pop(1))
    right = time.time
    time.time = lambda: right() + ahead_s
    from server.__main__ import main as serve  # noqa: PLC0415 - whatever it imports must see the wrong clock

    return serve()


if __name__ == "__main__":
    sys.exit(main())
