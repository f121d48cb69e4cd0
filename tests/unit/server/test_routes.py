"""Addresses."""

from __future__ import annotations

from server.dialect import Dialect, Upgrade
from server.routes import Caller, Route


def route(pattern: str) -> Route:
    def identify(caller: Caller) -> str:
        raise AssertionError(caller)

    def build(upgrade: Upgrade) -> Dialect:
        raise AssertionError(upgrade)

    return Route(pattern, identify, build, idle_s=1.0)


def test_a_named_place_matches_one_segment_that_is_not_empty() -> None:
    watched = route("/v1/calls/{id}/events")
    assert watched.match("/v1/calls/c%2F1/events") == {"id": "c%2F1"}
    assert watched.match("/v1/calls//events") is None
    assert watched.match("/v1/calls/a/b/events") is None
    assert watched.match("/v1/calls/a/event") is None
    assert route("/v1/stream").match("/v1/stream") == {}
