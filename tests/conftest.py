"""What every test gets: an event loop that may not be blocked, and a time limit that fits its kind."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

OUR_PACKAGES: Final = [name for name in ("server", "streaming", "gpu", "scaler", "trunkline") if find_spec(name)]
"""Where a blocking call is our fault; what tests themselves do, such as reading a sample, blocks nobody."""
TIME_LIMITS_S: Final = {"kafka": 120, "e2e": 180, "device": 300, "bench": 3600}
"""Seconds a test of this kind may take where it does not say itself; the others have the 60 s of pyproject.toml."""

# The machine is shared and its speed varies, so a slow example says nothing; a failing one prints how to get it again.
settings.register_profile("trunkline", deadline=None, print_blob=True)
settings.load_profile("trunkline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each slow kind of test its time limit."""
    for item in items:
        limits = [limit for marker, limit in TIME_LIMITS_S.items() if item.get_closest_marker(marker)]
        if limits and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(max(limits)))


@pytest.fixture(autouse=True)
def blocking_the_event_loop_fails_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """A blocked loop is a call that hears nothing: file reads, sleeps and blocking sockets in our coroutines raise."""
    if isinstance(request.node, pytest.Function) and inspect.iscoroutinefunction(request.node.obj):
        with blockbuster_ctx(OUR_PACKAGES):
            yield
    else:
        yield
