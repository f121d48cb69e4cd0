"""What the device bench computes: lines through costs, channels on them, and the roofline."""

from __future__ import annotations

import pytest

from gpu.cost import Cost
from gpu.short_windows import BUCKETS
from streaming.ladder import Rung
from tests.bench.device_channels import filled_in, modelled, most
from tests.bench.device_costs import Point, costs_of
from tests.bench.roofline import SHAPES, Peak, windows_per_s
from tests.bench.scoring import Value

RUNG = Rung("m", "m")
FAST = [Cost("m", "300+0", 0.004, 0.001), Cost("m", "1000+0", 0.008, 0.003)]


def row(batch: int, mean_ms: float, p95_ms: float, streams: int = 2) -> dict[str, Value]:
    """A row of the table of costs."""
    measured: dict[str, Value] = {"engine": "whisper", "model": "m", "bucket": "600+0", "streams": streams}
    return measured | {"batch": batch, "mean_ms": mean_ms, "p95_ms": p95_ms}


def test_costs_are_a_line_and_how_far_the_slow_batches_lay_above_it() -> None:
    """Rows of another number of streams are another device."""
    rows = [row(1, 30.0, 32.0), row(2, 40.0, 45.0), row(4, 60.0, 60.0), row(4, 900.0, 900.0, streams=1)]

    assert list(costs_of(rows, "whisper", 2)) == [Cost("m", "600+0", 0.02, 0.01, 0.005)]


def test_buckets_between_those_measured_lie_on_a_line_and_longer_ones_beyond() -> None:
    filled = {cost.bucket: cost for cost in filled_in(FAST)}

    assert set(filled) == {f"{length}+0" for length in BUCKETS}
    assert filled["100+0"].fixed_s == filled["300+0"].fixed_s == 0.004
    assert filled["600+0"].each_s == pytest.approx(0.001 + 0.002 * 300 / 700)
    assert filled["3000+0"].fixed_s == pytest.approx(3 * 0.008)


def test_a_device_twice_as_fast_carries_clearly_more_channels() -> None:
    """More than twice as many, for a batch must also fit into the second that a final may take."""

    def carried(slower: float) -> int:
        costs = [Cost(each.model, each.bucket, slower * each.fixed_s, slower * each.each_s) for each in FAST]
        return most(lambda n: modelled(costs, RUNG, n, streams=1, max_batch=16, seconds=15).keeps(1.0), precision=0.2)

    slow, fast = carried(40.0), carried(20.0)

    assert slow >= 2
    assert fast >= 1.5 * slow


def test_channels_that_a_device_carries_easily_wait_for_nothing_but_the_endpoint() -> None:
    tally = modelled(FAST, RUNG, 3, streams=1, max_batch=16, seconds=30)

    assert tally.final.p95 == pytest.approx(0.384)
    assert tally.answered == tally.partials > 0


def test_most_finds_the_last_number_that_is_good() -> None:
    assert most(lambda number: number <= 37, precision=0.01) == 37
    assert most(lambda number: number <= 1) == 1
    assert most(lambda _: False) == 0


@pytest.mark.parametrize(("shape", "most_per_s"), [("tiny", 38_769), ("small", 5_066), ("large-v3-turbo", 1_464)])
def test_the_roofline_is_that_of_the_cards_numbers(shape: str, most_per_s: int) -> None:
    """An H200, windows of 6 s with their tail, 28 tokens, batches of 256; computed by others before."""
    h200 = Peak(790e12, 4.3e12, "test")

    assert windows_per_s(SHAPES[shape], h200, frames=728, batch=256, tokens=28) == pytest.approx(most_per_s, rel=0.02)


def test_points_have_names_of_their_own() -> None:
    """What was measured is found again by them."""
    points = {
        Point("whisper", "m", seconds, batch, 2, beam).key for seconds in (2, 5) for batch in (1, 2) for beam in (1, 5)
    }

    assert len(points) == 8
