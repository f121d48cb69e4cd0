"""Numpy on one thread, as the server and its devices have it, for benches of what one thread does.

With more, each waits for the others by spinning, and a second of the processor says little.
"""

from __future__ import annotations

import os
import sys
from typing import Final

THREADS: Final = "OPENBLAS_NUM_THREADS"
"""What ``server/__init__.py`` sets, for the server and its devices; it is read when numpy is first imported."""


def on_one_thread() -> None:
    """Begin this process again with one thread for numpy, if it has more; called before anything is measured."""
    if os.environ.get(THREADS) != "1":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {THREADS: "1"})  # noqa: S606  itself
