"""Servers that the end-to-end tests share: starting one costs more than most tests do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers import SCRIPTED, ServerProcess, serving


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose words are tones."""
    with serving(*SCRIPTED, log=tmp_path_factory.mktemp("scripted") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server as ``make serve`` starts it: tiny.en on the processor."""
    with serving(log=tmp_path_factory.mktemp("real") / "log") as server:
        yield server
