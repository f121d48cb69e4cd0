"""State diagrams of ``docs/architecture.md``, drawn from the tables that the code itself goes by.

``python -m tests.support.state_diagrams`` writes them anew; a test looks whether that is needed.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from scaler import ownership
from server.bridges import audiohook
from streaming import session

PAGE: Final = Path(__file__).parents[2] / "docs" / "architecture.md"

Move = tuple[str, str, str]
"""From, to, because of what."""


def diagram(first: StrEnum, states: Iterable[StrEnum], moves: Iterable[Move]) -> str:
    """Draw a state diagram in Mermaid's notation; what leads nowhere else is left out.

    Args:
        first: Where it begins.
        states: All of them.
        moves: Between them.
    """
    reasons: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for came, to, why in moves:
        if came != to:
            reasons[came, to].append(why)
    ends = [state for state in states if not any(came == state for came, _ in reasons)]
    lines = ["stateDiagram-v2", f"    [*] --> {first}"]
    lines += [
        f"    {came} --> {to}: {', '.join(dict.fromkeys(why))}".rstrip(": ") for (came, to), why in reasons.items()
    ]
    lines += [f"    {state} --> [*]" for state in ends]
    return "\n".join(lines)


def diagrams() -> Mapping[str, str]:
    """Return each diagram by its name on the page."""
    call: list[Move] = [
        (came, to, event.__name__) for came, row in session.TRANSITIONS.items() for event, to in row.items()
    ]
    call.append((session.State.ENDING, session.State.CLOSED, "nothing is owed any more"))
    slot: list[Move] = [(came, to, "") for came, row in ownership.TRANSITIONS.items() for to in sorted(row)]
    hook: list[Move] = [(came, to, event) for came, row in audiohook.TRANSITIONS.items() for event, to in row.items()]
    states = audiohook.State
    hook += [
        (states.NEW, states.PROBING, "open without a call"),
        (states.LIVE, states.LEAVING, "we disconnect"),
        (states.CLOSING, states.CLOSED, "the last text is out"),
    ]
    return {
        "call": diagram(session.State.OPEN, session.State, call),
        "slot": diagram(ownership.Phase.RECOVERING, ownership.Phase, slot),
        "audiohook": diagram(states.NEW, states, hook),
    }


def drawn(page: str) -> str:
    """Return a page with every diagram as it must be."""
    for name, text in diagrams().items():
        begin, end = f"<!-- begin states {name} -->\n", f"<!-- end states {name} -->"
        page = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, text=text, begin=begin, end=end: f"{begin}```mermaid\n{text}\n```\n{end}",  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    return page


def main() -> int:
    """Write the page anew."""
    PAGE.write_text(drawn(PAGE.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
