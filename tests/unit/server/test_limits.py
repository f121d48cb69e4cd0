"""Token buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.limits import TokenBucket


def test_a_burst_is_let_through_and_then_only_the_rate() -> None:
    bucket = TokenBucket(rate=1.25, burst=10.0, now=0.0)
    assert bucket.take(10.0, 0.0)
    assert not bucket.take(0.1, 0.0)
    assert bucket.take(1.0, 1.0)


def test_no_more_than_the_burst_is_ever_saved_up() -> None:
    bucket = TokenBucket(rate=1.0, burst=5.0, now=0.0)
    assert bucket.take(5.0, 1000.0)
    assert not bucket.take(0.001, 1000.0)


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 2.0)), max_size=50))
def test_what_gets_through_never_exceeds_rate_and_burst(steps: list[tuple[float, float]]) -> None:
    """The bound on what one caller can make us do, whatever it sends when."""
    bucket = TokenBucket(rate=1.25, burst=3.0, now=0.0)
    now = through = 0.0
    for wait, amount in steps:
        now += wait
        if bucket.take(amount, now):
            through += amount
    assert through <= 3.0 + 1.25 * now + 1e-6
