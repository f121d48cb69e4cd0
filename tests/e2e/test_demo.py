"""The first command that a newcomer types."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.servers import ROOT

pytestmark = pytest.mark.e2e


def test_the_demonstration_understands_its_call() -> None:
    """Its exit status is 0 only if the call was understood, and it leaves with a summary."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo"], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
    print(done.stdout[-2000:])  # noqa: T201 - measurements
    assert done.returncode == 0, done.stderr[-2000:]
    for row in ("word error rate", "end of speech to final", "real-time factor", "understood"):
        assert row in done.stdout
