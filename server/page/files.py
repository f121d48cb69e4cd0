"""The live page's own files, read once: it takes nothing from anywhere else, and its headers see to that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"

PREFIX: Final = "/live/"

TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

READ: Final = {(path.name, path.suffix): path.read_bytes() for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}
"""Name and ending to content: at import, because an event loop must not wait for a disk."""

SAFETY: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class File:
    """One answer to a GET."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def answer(self, unchanged_since: str | None) -> File:
        """Return the answer for who has the file of this ``ETag`` already, or for who has none."""
        tag = self.headers.get("ETag")
        if tag is None or tag != unchanged_since:
            return self
        return File(304, b"", self.headers)


def load(*, key_needed: bool, models: Sequence[str]) -> dict[str, File]:
    """Return the page.

    Args:
        key_needed: Whether the feeds want a key.
        models: Names of the models served, the default one first.

    Returns:
        Path to file.
    """
    about = {"key_needed": key_needed, "models": list(models)}
    files = {PREFIX + name: _file(body, TYPES[suffix]) for (name, suffix), body in READ.items()}
    files[PREFIX] = files.pop(f"{PREFIX}index.html")
    files[f"{PREFIX}about.json"] = _file(json.dumps(about).encode(), "application/json")
    # Relative, so that it holds behind a proxy that serves us below a path of its own.
    for path, there in (("/", "live/"), ("/live", "live/")):
        files[path] = File(302, b"", {"Location": there, **SAFETY})
    return files


def _file(body: bytes, content_type: str) -> File:
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    return File(200, body, {"Content-Type": content_type, "ETag": tag, **SAFETY})
