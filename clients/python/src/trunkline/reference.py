"""What is said in a recording, from a JSON file beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trunkline.timing import Turn
from trunkline.wire import read_object


@dataclass(frozen=True, slots=True)
class Reference:
    """What is said in a recording."""

    labels: tuple[str, ...]
    """Names of the sides; empty if the file does not say."""
    turns: tuple[Turn, ...]

    def text(self, channel: int) -> str:
        """Return all that a side says."""
        return " ".join(turn.text for turn in self.turns if turn.channel == channel)


def read_reference(path: Path) -> Reference:
    """Read a reference: ``{"labels": [...], "turns": [{"channel", "start_s", "end_s", "text"}]}``.

    Raises:
        ValueError: If the file is none.
        OSError: If it cannot be read.
    """
    try:
        fields = read_object(path.read_text("utf-8"))
        turns = tuple(
            Turn(turn.integer("channel"), turn.number("start_s"), turn.number("end_s"), turn.maybe_text("text") or "")
            for turn in fields.sections("turns")
        )
    except ValueError as problem:
        raise ValueError(f"{path.name} is no reference: {problem}") from problem
    if not turns:
        raise ValueError(f"{path.name} is no reference: it has no turns")
    return Reference(fields.texts("labels"), turns)
