"""How benches judge words and times, and how they say what they found and on which machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol, cast

import jiwer
import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]

Value = str | int | float | bool | None
"""What a cell of a report holds."""


class _Normaliser(Protocol):
    def __call__(self, text: str) -> str: ...


@cache
def _english() -> _Normaliser:
    from whisper_normalizer.english import EnglishTextNormalizer  # noqa: PLC0415 - reads its word lists when imported

    return cast(_Normaliser, EnglishTextNormalizer())


def normalise(text: str) -> str:
    """Bring English text to the form in which word errors are counted: Whisper's own normaliser."""
    return " ".join(_english()(text).split())


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Word errors of any amount of text; those of two texts add up."""

    words: int = 0
    """Words of the reference."""
    substituted: int = 0
    inserted: int = 0
    deleted: int = 0

    @property
    def errors(self) -> int:
        """All three kinds together."""
        return self.substituted + self.inserted + self.deleted

    @property
    def rate(self) -> float:
        """Errors per word of the reference; over 1 is possible, and 0 words count as one."""
        return self.errors / max(self.words, 1)

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.words + other.words,
            self.substituted + other.substituted,
            self.inserted + other.inserted,
            self.deleted + other.deleted,
        )

    def row(self) -> dict[str, Value]:
        """As the cells of a report; the rate in percent."""
        return {"wer_pct": round(100 * self.rate, 2)} | asdict(self)


def word_errors(reference: str, hypothesis: str) -> WordErrors:
    """Count the word errors of one text, both sides normalised first."""
    said, heard = normalise(reference), normalise(hypothesis)
    if not said:  # jiwer refuses an empty reference: whatever was heard then was invented
        return WordErrors(inserted=len(heard.split()))
    counts = jiwer.process_words(said, heard)
    return WordErrors(len(said.split()), counts.substitutions, counts.insertions, counts.deletions)


def total(parts: Iterable[WordErrors]) -> WordErrors:
    """Add up word errors, so that a long text weighs more than a short one."""
    return sum(parts, WordErrors())


def channel_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[WordErrors]:
    """Count a call's word errors, each side by itself: words on the wrong side are errors on both.

    Raises:
        ValueError: If there are not equally many sides.
    """
    return [word_errors(said, heard) for said, heard in zip(references, hypotheses, strict=True)]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Where a set of measurements lies; NaN where there was none."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float
    most: float

    def row(self, unit: str, digits: int = 3) -> dict[str, Value]:
        """As the cells of a report, each name ending in the unit."""
        return {
            "count": self.count,
            f"p50_{unit}": round(self.p50, digits),
            f"p95_{unit}": round(self.p95, digits),
            f"p99_{unit}": round(self.p99, digits),
            f"max_{unit}": round(self.most, digits),
        }


def percentiles(values: Iterable[float]) -> Percentiles:
    """Summarise measurements; between two values the line between them counts."""
    sample = np.fromiter(values, dtype=np.float64)
    if not sample.size:
        return Percentiles(0, *[float("nan")] * 5)
    p50, p90, p95, p99, most = (float(value) for value in np.percentile(sample, [50, 90, 95, 99, 100]))
    return Percentiles(sample.size, p50, p90, p95, p99, most)


def machine() -> dict[str, Value]:
    """Describe the machine, the day and the code, without which a number means nothing."""
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    cpu = _after_colon(cpuinfo, "model name") or platform.processor() or platform.machine()
    memory_kib = (_after_colon(meminfo, "MemTotal") or "0 kB").split()[0]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty") or "unknown",
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(int(memory_kib) / 2**20, 1),
        "gpu": _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def show_table(title: str, rows: Sequence[Mapping[str, Value]], console: Console | None = None) -> None:
    """Print rows for a person; the columns are the names of the first row."""
    table = Table(title=title, title_justify="left")
    names = list(rows[0]) if rows else []
    for name in names:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*("-" if row[name] is None else str(row[name]) for name in names))
    (console or Console()).print(table)


def write_report(file: Path, bench: str, rows: Sequence[Mapping[str, Value]], settings: Mapping[str, Value]) -> None:
    """Write rows for a program: one JSON object with the machine, the settings of the bench and its rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    report = {"bench": bench, "machine": machine(), "settings": dict(settings), "rows": [dict(row) for row in rows]}
    file.write_text(json.dumps(report, indent=2) + "\n")


def _after_colon(file: Path, name: str) -> str | None:
    if not file.is_file():
        return None
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), None)


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
