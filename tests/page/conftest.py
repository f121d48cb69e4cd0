"""Servers for the page's tests, which are skipped where there is no browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browser import CHROMIUM
from tests.support.servers import SCRIPTED, ServerProcess, serving


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser, or a visible skip."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: install the system's package, or name it in TRUNKLINE_CHROMIUM")
    return CHROMIUM


@pytest.fixture(scope="session")
def scripted(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose words are tones."""
    del chromium
    with serving(*SCRIPTED, log=tmp_path_factory.mktemp("page") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def real(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that understands speech."""
    del chromium
    with serving(log=tmp_path_factory.mktemp("page-real") / "log") as server:
        yield server
