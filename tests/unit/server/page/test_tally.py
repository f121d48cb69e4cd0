"""What the load feed counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from server.metrics import Metrics
from server.page.recent import RECENT_S, Recent
from server.page.tally import Tally, TallyingDeviceObserver, TallyingShardObserver
from streaming.decoding import Hypothesis, Word
from streaming.ladder import Rung


class Clock:
    """Seconds that move because a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_percentiles_are_of_the_last_half_minute() -> None:
    """A bad minute an hour ago is no news."""
    clock = Clock()
    recent = Recent(clock)
    assert recent.percentile(0.5) is None
    for value in range(20):
        recent.add(float(value))
    assert (recent.percentile(0.5), recent.percentile(0.95), recent.percentile(1.0)) == (10.0, 19.0, 19.0)

    clock.now = RECENT_S + 1
    recent.add(7.0)
    assert (len(recent), recent.percentile(0.95)) == (1, 7.0)


def test_the_tally_hears_what_prometheus_hears() -> None:
    """One event, two readers: neither may miss it."""
    metrics = Metrics(CollectorRegistry())
    tally = Tally(wall_clock=lambda: 5.0)
    devices = TallyingDeviceObserver(metrics, tally)
    words = (Word("hello", 0.0, 1.0, 1.0),)
    hypothesis = Hypothesis(words, "en", 1.0, 0.0, "m", aligned=True, queue_s=0.1, compute_s=0.4)
    devices.batch_done("cpu-0", "m", 1, [hypothesis, hypothesis], 0.4)
    devices.batch_done("cpu-0", "m", 1, [], 0.4)
    devices.device_fault("cpu-0", "stuck")
    devices.device_state("cpu-0", "ready")

    did = tally.device("cpu-0")
    assert (did.busy_s, did.batches, did.windows, did.queue.percentile(0.5)) == (0.4, 2, 2, 0.1)
    assert [(each.what, each.where, each.text) for each in tally.happenings()] == [
        ("fault", "cpu-0", "stuck"),
        ("device", "cpu-0", "ready"),
    ]
    assert tally.happenings() == ()
    exposed = metrics.exposition().decode()
    assert 'trunkline_batch_size_sum{gpu="cpu-0",model="m"} 2.0' in exposed


def test_a_step_of_the_ladder_is_shown_and_told() -> None:
    """It is the first thing that happens under load."""
    tally = Tally()
    slow = Rung("tiny", "base", cadence_s=2.0)
    TallyingShardObserver(Metrics(CollectorRegistry()), tally).rung_changed(slow, down=True)

    assert tally.rung == slow
    assert [each.text for each in tally.happenings()] == ["tiny / base, finals greedily, interim words every 2 s"]
