"""The code blocks of the documentation, and whether they say that they cannot be run here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_BLOCK: Final = re.compile(
    r"^(?:<!-- not run: (?P<why>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """One code block."""

    page: str
    """Path from the root of the repository."""
    line: int
    language: str
    text: str
    why_not: str | None
    """Why it is not run, in the words of the page; None for one that is."""

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return the documentation, the README first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(*languages: str) -> Iterator[Block]:
    """Return the code blocks of all pages, or those of some languages."""
    for page in pages():
        text = page.read_text("utf-8")
        for found in _BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            block = Block(str(page.relative_to(ROOT)), line, found["language"], found["text"], found["why"])
            if not languages or block.language in languages:
                yield block
