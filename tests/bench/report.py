"""What benches found, as tables for people: on the screen, in JSON, and in `docs/benchmarks.md`.

`python -m tests.bench.report --into docs/benchmarks.md build/bench/accuracy.json` puts a report into its section of a
document, between two comments that name the bench; without `--into` it is printed.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, TypedDict, cast

import typer
from rich.console import Console

from tests.bench.scoring import ROOT, Percentiles, Value, machine, show_table

FOLDER: Final = ROOT / "build" / "bench"
"""Where reports are written."""
WIDTH: Final = 240
"""Columns of tables where there is no terminal."""
QUIET_S: Final = 20.0
"""Seconds between lines of progress where there is no terminal."""


class Report(TypedDict):
    """What a bench found."""

    bench: str
    """Names the file and the section of a document."""
    command: str
    machine: dict[str, Value]
    settings: dict[str, Value]
    summary: dict[str, Value]
    rows: list[dict[str, Value]]


def report(
    bench: str, settings: Mapping[str, Value], summary: Mapping[str, Value], rows: Sequence[Mapping[str, Value]]
) -> Report:
    """Put a report together; the command is that of this process."""
    module = Path(sys.argv[0]).stem
    return Report(
        bench=bench,
        command=shlex.join(["python", "-m", f"tests.bench.{module}", *sys.argv[1:]]),
        machine=machine(),
        settings=dict(settings),
        summary=_said(summary),
        rows=[_said(row) for row in rows],
    )


def publish(found: Report, title: str, console: Console, document: Path | None) -> Path:
    """Show a report, keep it as JSON and, if asked, put it into a document.

    Returns:
        Where the JSON is.

    Raises:
        ValueError: If the document has no section for this bench.
    """
    wide = console if console.is_terminal else Console(width=WIDTH)
    show_table(title, found["rows"], wide)
    for name, value in found["summary"].items():
        console.print(f"{name}: {_cell(value)}", highlight=False)
    file = FOLDER / f"{found['bench']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=2) + "\n")
    if document is not None:
        document.write_text(renewed(document.read_text(), found))
    return file


def markdown(found: Report) -> str:
    """Write a report as Markdown: date, machine, command, what was found, the table."""
    box = found["machine"]
    where = f"{box['date']}, {box['cores']} cores of {box['cpu']}, {box['memory_gib']} GiB, commit {box['commit']}"
    lines = [f"{where}; `{found['command']}`", ""]
    lines += [f"* {name}: {_cell(value)}" for name, value in found["summary"].items()]
    if found["rows"]:
        names = list(found["rows"][0])
        lines += ["", f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
        lines += [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in found["rows"]]
    return "\n".join(lines) + "\n"


def renewed(document: str, found: Report) -> str:
    """Return a document with a report in its section.

    Raises:
        ValueError: If it has no section for this bench.
    """
    begin, end = (f"<!-- {edge} {found['bench']} -->\n" for edge in ("begin", "end"))
    before, opened, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"the document has no section {found['bench']!r}: write {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{markdown(found)}{end}{after}"


def ms(found: Percentiles, name: str) -> dict[str, Value]:
    """Return the middle and the slow end of latencies in whole milliseconds, as the cells of a report."""
    return {f"{name}_p50_ms": _ms(found.p50), f"{name}_p95_ms": _ms(found.p95)}


def _ms(seconds: float) -> int | None:
    return None if math.isnan(seconds) else round(1000 * seconds)


def _said(cells: Mapping[str, Value]) -> dict[str, Value]:
    """Return cells without NaN, which JSON does not have."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in cells.items()}


def _cell(value: Value) -> str:
    return "-" if value is None else str(value)


@dataclass(slots=True)
class Progress:
    """Tells how far long work is: a line that changes on a terminal, a line now and then elsewhere."""

    console: Console
    total_s: float
    """Seconds of audio there are."""
    done_s: float = 0.0
    _told: float = field(default_factory=time.monotonic)

    def advance(self, seconds: float, note: str = "") -> None:
        """Count audio as done."""
        self.done_s += seconds
        now = time.monotonic()
        text = f"{self.done_s:5.0f} of {self.total_s:.0f} s of audio {note}"
        if self.console.is_terminal:
            self.console.print(text, end="\r", highlight=False)
        elif now - self._told >= QUIET_S:
            self._told = now
            self.console.print(text, highlight=False)


def main(
    files: Annotated[list[Path], typer.Argument(help="reports, as JSON")],
    into: Annotated[Path | None, typer.Option(help="document whose sections are renewed; else printed")] = None,
) -> None:
    """Turn reports into Markdown."""
    for file in files:
        found = cast(Report, json.loads(file.read_text()))
        if into is None:
            typer.echo(markdown(found))
        else:
            into.write_text(renewed(into.read_text(), found))


if __name__ == "__main__":
    typer.run(main)
