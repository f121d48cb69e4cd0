"""Decodes that are kept, with the processor time each took, so that replays compare settings quickly."""

from __future__ import annotations

import hashlib
import pickle
import sqlite3
import time
from pathlib import Path
from typing import Protocol

from gpu import guards
from streaming.decoding import Hypothesis, Window
from tests.bench.scoring import ROOT

SOURCES = ("gpu/whisper.py", "gpu/short_windows.py", "gpu/guards.py", "gpu/vocabulary.py")
"""What decides a hypothesis, besides the model and the window."""


class Engine(Protocol):
    """The part of an engine that is needed."""

    def decode(self, windows: list[Window]) -> list[Hypothesis]:
        """Decode a batch."""
        ...


class Decodes:
    """Decodes windows one by one, each only once.

    Args:
        engine: With a single worker, so that processor time is what a stream of its own would take.
        file: Where they are kept; made where it is not there.
        version: Of all that decides a hypothesis besides the window.
    """

    def __init__(self, engine: Engine, file: Path, version: str) -> None:
        self._engine = engine
        self._version = version
        file.parent.mkdir(parents=True, exist_ok=True)
        self._kept = sqlite3.connect(file, timeout=60)
        self._kept.execute("CREATE TABLE IF NOT EXISTS decodes (key BLOB PRIMARY KEY, value BLOB)")

    def __call__(self, window: Window) -> tuple[Hypothesis, float]:
        """Return what the engine hears in a window, and the processor seconds that took."""
        key = self._key(window)
        row = self._kept.execute("SELECT value FROM decodes WHERE key = ?", (key,)).fetchone()
        if row is not None:
            kept: tuple[Hypothesis, float] = pickle.loads(row[0])  # noqa: S301  written by this class on this machine
            return kept
        began = time.process_time()
        hypothesis = self._engine.decode([window])[0]
        value = hypothesis, time.process_time() - began
        with self._kept:
            self._kept.execute("INSERT OR REPLACE INTO decodes VALUES (?, ?)", (key, pickle.dumps(value)))
        return value

    def _key(self, window: Window) -> bytes:
        wishes = (
            self._version,
            window.kind,
            window.language,
            window.context,
            window.hotwords,
            window.draft,
            window.beam,
            window.voice >= guards.CLEAR,
        )
        return hashlib.sha256(repr(wishes).encode() + window.features.tobytes()).digest()


def engine_version() -> str:
    """Return a name for the code of the engine as it is."""
    code = b"".join((ROOT / source).read_bytes() for source in SOURCES)
    return hashlib.sha256(code).hexdigest()
