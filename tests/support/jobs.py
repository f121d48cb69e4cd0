"""Decode jobs for tests of the devices."""

from __future__ import annotations

from itertools import count

import numpy as np

from streaming.decoding import DecodeJob, Kind, Window

_numbers = count(1)


def window(kind: Kind = Kind.PARTIAL, *, frames: int = 300, model: str | None = None) -> Window:
    """A window of digital silence."""
    return Window(np.full((80, frames), -10.0, np.float32), kind, language="en", model=model)


def job(
    kind: Kind = Kind.PARTIAL,
    call: str = "call",
    *,
    channel: int = 0,
    tenant: str = "tenant",
    frames: int = 300,
    model: str | None = None,
    deadline: float = 10.0,
) -> DecodeJob:
    """A job with the next number."""
    return DecodeJob(next(_numbers), call, channel, tenant, window(kind, frames=frames, model=model), 0.0, deadline)
