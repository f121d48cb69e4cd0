"""What ``trunkline top`` shows: all calls of a tenant, and the load."""

from __future__ import annotations

from rich.console import Console

from trunkline.board import board, spark
from trunkline.overview import Overview
from trunkline.wire import Fields

LOAD: dict[str, object] = {
    "type": "load",
    "at": 100.0,
    "calls": 3,
    "finals": {"p50_s": 0.4, "p95_s": 3.4, "count": 9},
    "shards": [
        {
            "name": "standalone",
            "calls": 3,
            "slots": 64,
            "load": None,
            "cadence_s": 1.5,
            "rung": 1,
            "rungs": 5,
            "models": ["base", "tiny"],
            "devices": [
                {
                    "name": "cpu-0",
                    "state": "ready",
                    "utilisation": 0.5,
                    "waiting": 2,
                    "queue_p95_s": 0.25,
                    "batch": 1.5,
                    "windows": 6.0,
                    "restarts": 1,
                }
            ],
        }
    ],
    "happenings": [{"at": 99.0, "what": "rung", "where": "", "text": "interim words every 1.5 s"}],
}


def seen() -> Overview:
    overview = Overview()
    for message in (
        {"type": "calls", "calls": [{"call": "one", "labels": ["customer", "agent"], "opened_at": 40.0}]},
        {"type": "opened", "call": "two", "labels": ["caller"], "opened_at": 95.0},
        {"type": "final", "call": "one", "channel": 0, "text": "Good morning."},
        {"type": "partial", "call": "one", "channel": 1, "text": "how can I", "stable": 1},
        {"type": "partial", "call": "unknown", "channel": 0, "text": "lost", "stable": 0},
        {"type": "quality", "call": "one", "model": "tiny", "reason": "overload"},
    ):
        overview.take_call(Fields(message))
    overview.take_load(Fields(LOAD))
    overview.take_load(Fields({"type": "error", "code": "draining"}))
    return overview


def drawn(overview: Overview, height: int = 40) -> str:
    console = Console(width=110, height=height, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as captured:
        console.print(board(overview, now=100.0, width=110, height=height))
    return captured.get()


def test_the_board_has_calls_with_their_newest_words_and_the_load() -> None:
    """The same two views as the live page."""
    text = drawn(seen())

    for part in ("3 calls", "0.40 s median, 3.40 s at 95 %", "base / tiny, rung 2 of 5, interim every 1.5 s"):
        assert part in text
    for part in ("cpu-0", "ready", "50%", "0.25 s", "rung: interim words every 1.5 s", "1:00", "0:05"):
        assert part in text
    assert "Good morning." in text
    assert "how can I" in text
    assert "lost" not in text
    assert text.index("0:05") < text.index("1:00")


def test_a_call_that_is_over_is_gone_and_those_that_do_not_fit_are_counted() -> None:
    """A terminal has so many lines and no more."""
    overview = seen()
    overview.take_call(Fields({"type": "closed", "call": "two"}))
    assert list(overview.calls) == ["one"]
    for number in range(9):
        overview.take_call(
            Fields({"type": "opened", "call": f"more-{number}", "labels": ["a", "b"], "opened_at": 100.0})
        )
    assert "and 8 more" in drawn(overview, height=14)


def test_an_empty_server_says_so() -> None:
    """Nothing to see is something to say."""
    text = drawn(Overview())
    assert "no shard is known yet" in text
    assert "no call of yours is in progress" in text


def test_a_spark_line_scales_and_leaves_gaps() -> None:
    """What is not known is not zero."""
    assert spark([0.0, None, 1.5, 3.0, 9.0], 3.0, 6) == " ▁ ▅██"
