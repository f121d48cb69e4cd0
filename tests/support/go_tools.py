"""Helm, and the schemas of what charts and compose files are written in, from the Go module proxy.

    python -m tests.support.go_tools

builds Helm under ``build/go`` (minutes of processor time, once); a ``helm`` on the path is taken instead. Every module
is checked by the Go tool against the public checksum database.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, cast

REPOSITORY: Final = Path(__file__).resolve().parents[2]
BUILT: Final = REPOSITORY / "build" / "go"

HELM: Final = "helm.sh/helm/v3/cmd/helm@v3.19.0"
KEDA: Final = "github.com/kedacore/keda/v2@v2.18.0"
PROMETHEUS_OPERATOR: Final = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
COMPOSE: Final = "github.com/compose-spec/compose-go/v2@v2.9.1"

QUICK: Final = ("-gcflags=all=-N -l", "-ldflags=-s -w")
"""Not optimised: building is most of what this Helm is ever asked to do, and takes a quarter less."""


class ToolMissing(Exception):
    """A tool cannot be had on this machine; the message says how it could."""


def helm() -> Path:
    """Return a Helm.

    Raises:
        ToolMissing: If there is none, and building one was not asked for or failed.
    """
    found = shutil.which("helm")
    if found:
        return Path(found)
    if not (BUILT / "helm").exists():
        if not os.environ.get("CI") or shutil.which("go") is None:
            raise ToolMissing("no Helm: install it, or build it with Go by make tools, to test the chart")
        build_helm()
    return BUILT / "helm"


def build_helm() -> None:
    """Build Helm; whoever comes second while it is being built waits for the first, as Go's own cache does."""
    BUILT.mkdir(parents=True, exist_ok=True)
    _go("install", *QUICK, HELM, GOBIN=str(BUILT))


def module(name: str) -> Path:
    """Return the folder of a Go module's source.

    Raises:
        ToolMissing: If Go is not installed, or cannot fetch it.
    """
    answer = cast("dict[str, str]", json.loads(_go("mod", "download", "-json", name)))
    return Path(answer["Dir"])


def _go(*arguments: str, **environment: str) -> str:
    program = shutil.which("go")
    if program is None:
        raise ToolMissing("no Go: install it to check charts and compose files against their schemas")
    told = {**os.environ, **environment}
    ended = subprocess.run(  # noqa: S603 - the Go tool
        [program, *arguments], env=told, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise ToolMissing(f"go {arguments[0]} failed: {(ended.stderr or ended.stdout)[-500:]}")
    return ended.stdout


if __name__ == "__main__":
    try:
        if shutil.which("helm") is None:
            build_helm()
        for needed in (KEDA, PROMETHEUS_OPERATOR, COMPOSE):
            module(needed)
    except ToolMissing as missing:
        sys.exit(str(missing))
