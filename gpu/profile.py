"""Files of measured costs: written by the device bench, read by devices and by whoever simulates them.

A file is JSON: what was measured, where and when, and a line per model and bucket::

    {
      "format": 1,
      "measured": "2026-11-24", "device": "cpu", "machine": "2 cores of AMD EPYC", "engine": "whisper",
      "compute_type": "int8", "streams": 2, "max_batch": 16,
      "costs": [{"model": "tiny.en", "bucket": "400+0", "fixed_s": 0.05, "each_s": 0.02, "margin_s": 0.01}]
    }

Seconds are those of a batch while all streams are busy, which is what matters under load.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gpu.cost import Cost
from gpu.errors import BadProfile

__all__ = ["Profile", "read_profile", "write_profile"]

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a device costs."""

    measured: str
    """Date, ISO 8601."""
    device: str
    """``cpu`` or the name of the GPU."""
    machine: str
    engine: str
    """As `DeviceSpec` names it."""
    compute_type: str
    streams: int
    """Batches that ran at a time."""
    max_batch: int
    """Largest batch measured."""
    costs: tuple[Cost, ...]


def write_profile(file: Path, profile: Profile) -> None:
    """Write a profile, a cost a line, so that two of them can be compared."""
    head = asdict(profile)
    costs: Sequence[object] = head.pop("costs")
    lines = ",\n".join(f"    {json.dumps(cost)}" for cost in costs)
    text = json.dumps({"format": FORMAT, **head}, indent=2).removesuffix("\n}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'{text},\n  "costs": [\n{lines}\n  ]\n}}\n', encoding="utf-8")


def read_profile(file: Path) -> Profile:
    """Read a profile.

    Raises:
        BadProfile: If there is no such file, or it holds something else.
    """
    try:
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if stored.pop("format", None) != FORMAT:
            raise BadProfile(f"{file} is not a profile of format {FORMAT}; measure again: make bench-device")
        costs = tuple(Cost(**cost) for cost in stored.pop("costs"))
        return Profile(costs=costs, **stored)
    except OSError as problem:
        raise BadProfile(f"profile {file} cannot be read: {problem.strerror}") from problem
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise BadProfile(f"{file} is not a profile: {problem}; measure again: make bench-device") from problem
