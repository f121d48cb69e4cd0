"""Servers that the end-to-end tests share: starting one costs more than most tests do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.servers import SCRIPTED, ServerProcess, serving

COMPLAINTS: Final = ("Traceback", "never retrieved", "never awaited", "Warning")
"""What no log of a server may hold, whatever was done to its devices and callers."""


def stops_well(server: ServerProcess) -> bool:
    """Stop a server, and tell whether it had nothing to complain of."""
    return server.stop() == 0 and not any(complaint in server.written() for complaint in COMPLAINTS)


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose words are tones."""
    with serving(*SCRIPTED, log=tmp_path_factory.mktemp("scripted") / "log") as server:
        yield server
        assert stops_well(server)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server as ``make serve`` starts it: tiny.en on the processor."""
    with serving(log=tmp_path_factory.mktemp("real") / "log") as server:
        yield server
        assert stops_well(server)
