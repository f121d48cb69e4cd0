"""What a long bench has measured so far, in a file, so that a run that was broken off goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, cast

from rich.console import Console

from gpu.errors import EngineError
from tests.bench.beside import Stretch, Used
from tests.bench.scoring import Value

ENDS: Final = 2
"""Runs that may end in one measurement before it is left out."""

Row = dict[str, Value]


class LeftOut(Exception):
    """A measurement that ended whole runs is not tried again."""


@dataclass(slots=True)
class Store:
    """Rows that were measured, by name.

    What raised is not kept: the next run tries it again. What ended the process, as some drivers do, is found out by
    its name, which is written down before it begins.
    """

    file: Path
    made_on: str
    """Machine and code; rows of another are forgotten."""
    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    begun: dict[str, int] = field(default_factory=dict[str, int])
    """Measurements that did not come to an end, and how often."""
    spent: dict[str, Used] = field(default_factory=dict[str, Used])
    """What parts took, all runs together."""

    def load(self) -> bool:
        """Read what an earlier run left, and say whether there was anything of this machine and code."""
        if not self.file.is_file():
            return False
        kept = json.loads(self.file.read_text())
        if kept["made_on"] != self.made_on:
            return False
        self.rows, self.begun = cast(dict[str, Row], kept["rows"]), cast(dict[str, int], kept["begun"])
        self.spent = {part: Used(**used) for part, used in cast(dict[str, dict[str, float]], kept["spent"]).items()}
        return True

    def get(self, key: str, work: Callable[[], Row]) -> Row:
        """Return a row, measured now if it was not before.

        Raises:
            LeftOut: If runs ended in it.
        """
        if key not in self.rows:
            with self.attempt(key):
                self.rows[key] = work()
        return self.rows[key]

    @contextmanager
    def attempt(self, key: str) -> Generator[None]:
        """Write down that a measurement begins, and that it came to an end, whichever.

        Raises:
            LeftOut: If runs ended in it.
        """
        if self.begun.get(key, 0) >= ENDS:
            raise LeftOut(f"{ENDS} runs ended in it; --fresh tries it again")
        self.begun[key] = self.begun.get(key, 0) + 1
        self._write()
        try:
            yield
        finally:
            del self.begun[key]
            self._write()

    @contextmanager
    def spending(self, part: str) -> Generator[None]:
        """Count what a part takes; processes that were started in it count once they have ended."""
        stretch = Stretch()
        try:
            yield
        finally:
            self.spent[part] = self.spent.get(part, Used()) + stretch.used()
            self._write()

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        spent = {part: asdict(used) for part, used in self.spent.items()}
        kept = {"made_on": self.made_on, "begun": self.begun, "spent": spent, "rows": self.rows}
        part.write_text(json.dumps(kept, indent=1))
        part.replace(self.file)


class Measuring:
    """Keeps what is measured, and tells how far it is and what could not be had.

    Args:
        store: What was measured before.
        console: Where progress goes.
    """

    def __init__(self, store: Store, console: Console) -> None:
        self.store = store
        self._console = console
        self.problems: list[str] = []
        """What could not be measured, and why."""

    def measured(self, key: str, work: Callable[[], Row]) -> Row | None:
        """Return a row, or None where it cannot be had on this machine, which is said and noted."""
        try:
            return self.store.get(key, work)
        except (EngineError, LeftOut) as problem:
            self.problem(f"{key}: {problem}")
            return None

    def problem(self, problem: str) -> None:
        """Say and note that something cannot be had."""
        self.problems.append(problem)
        self._console.print(problem, style="red", markup=False)

    def tell(self, line: str) -> None:
        """Tell how far it is."""
        self._console.print(line, highlight=False, markup=False)
