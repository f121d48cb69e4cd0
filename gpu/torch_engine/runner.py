"""The thread that runs a decoder: it takes in rows from any thread between two steps, and hands them back when done."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue

from gpu.torch_engine.decoder import Decoder
from gpu.torch_engine.rows import Row
from gpu.torch_engine.untyped import torch

__all__ = ["Runner"]


class Runner:
    """Runs a decoder in a thread of its own, which lives until ``close``.

    Args:
        decoder: Used by this thread alone from now on.
        place: What the thread works within: its CUDA stream.
    """

    def __init__(self, decoder: Decoder, place: AbstractContextManager[object]) -> None:
        self._decoder = decoder
        self._place = place
        self._new: SimpleQueue[Row | None] = SimpleQueue()
        self._waiting: deque[Row] = deque()
        self._thread = threading.Thread(target=self._work, name="torch-decoder", daemon=True)
        self._thread.start()

    def run(self, rows: Sequence[Row]) -> None:
        """Decode rows together with those of other threads; returns when these are done.

        Raises:
            Exception: Whatever the decoder raised; every row that was in it then gets the same.
        """
        for row in rows:
            self._new.put(row)
        for row in rows:
            row.done.result()

    def close(self) -> None:
        """End the thread; nothing may run then."""
        self._new.put(None)
        self._thread.join()

    def _work(self) -> None:
        with torch.inference_mode(), self._place:
            while self._take_in():
                try:
                    self._go_on()
                except Exception as problem:  # noqa: BLE001  whatever it was, those who wait must hear of it
                    for row in (*self._decoder.clear(), *self._waiting):
                        if not row.done.done():
                            row.done.set_exception(problem)
                    self._waiting.clear()

    def _take_in(self) -> bool:
        """Collect what came; wait if there is nothing else to do. False when it is time to end."""
        idle = not (self._waiting or self._decoder.busy)
        while True:
            try:
                row = self._new.get(block=idle)
            except Empty:
                return True
            if row is None:
                return False
            self._waiting.append(row)
            idle = False

    def _go_on(self) -> None:
        joining = [self._waiting.popleft() for _ in range(min(self._decoder.free, len(self._waiting)))]
        done = self._decoder.join(joining) if joining else []
        if self._decoder.busy:
            done += self._decoder.step()
        for row in done:
            row.done.set_result(None)
