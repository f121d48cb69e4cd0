"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[str, typer.Option("--url", envvar="TRUNKLINE_URL", help="Address of the server.")]
Key = Annotated[str | None, typer.Option("--key", envvar="TRUNKLINE_KEY", show_default=False, help="API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")]

DEFAULT_URL = "ws://127.0.0.1:8080"
