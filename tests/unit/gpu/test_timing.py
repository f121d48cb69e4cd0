"""What batches take is looked at before a device is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from gpu.cost import Cost, CostModel, Timing
from gpu.engine import Bucket
from gpu.errors import OutOfMemory
from gpu.scripted import ScriptedEngine
from gpu.spec import DeviceSpec
from gpu.timing import ROUNDS, SHAPES, costs_of, time_batches
from streaming.decoding import Hypothesis, Kind, Window

SPEC: Final = DeviceSpec(name="one", models=("m",), streams=1, max_batch=8, decodes=(("m", 1), ("m", 5)))


class Diary(ScriptedEngine):
    """Remembers what it was given; each batch takes ``each_s`` a window, the first longer, by a clock of its own."""

    def __init__(self, each_s: float = 0.002, *, first_s: float = 0.0, holds: int = 100) -> None:
        super().__init__("m")
        self.batches: list[tuple[Window, ...]] = []
        self.now = 0.0
        self._each = each_s
        self._first = first_s
        self._holds = holds

    def bucket(self, window: Window) -> Bucket:
        return replace(super().bucket(window), beam=window.beam)

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        if len(windows) > self._holds:
            raise OutOfMemory("it was told to hold fewer")
        first = not self.batches
        self.batches.append(tuple(windows))
        self.now += self._each * len(windows) + (self._first if first else 0.0)
        return super().decode(windows)


def timed(spec: DeviceSpec, engine: Diary) -> tuple[Timing, ...]:
    return time_batches(spec, {"m": engine}, lambda: engine.now)


def test_every_model_and_beam_is_timed_at_some_lengths_and_sizes_several_times() -> None:
    engine = Diary()

    timings = timed(SPEC, engine)

    wanted = {("m", beam, *shape) for beam in (1, 5) for shape in SHAPES}
    assert {(each.model, each.beam, each.size, each.audio_s) for each in timings} == wanted
    assert len(engine.batches) == ROUNDS[1] * len(wanted)
    assert all(each.took_s == pytest.approx(0.002 * each.size) for each in timings)


def test_windows_hold_speech_and_no_two_of_a_batch_the_same() -> None:
    """What a decode costs depends on what is said; partials are greedy, finals are not."""
    engine = Diary()
    timed(SPEC, engine)
    [*_, largest] = sorted(engine.batches, key=len)

    assert len({window.features.tobytes() for window in largest}) == len(largest)
    assert all(window.features.max() > 0 for window in largest)
    kinds = {(window.beam, window.kind) for batch in engine.batches for window in batch}
    assert kinds == {(1, Kind.PARTIAL), (5, Kind.FINAL)}


def test_a_slow_first_run_does_not_count() -> None:
    """A library that loads, a page that is not there yet."""
    timings = timed(SPEC, Diary(first_s=0.3))

    assert max(each.took_s for each in timings) < 0.3


def test_a_slow_device_is_not_looked_at_three_times() -> None:
    engine = Diary(each_s=0.05)

    timings = timed(SPEC, engine)

    assert len(engine.batches) == ROUNDS[0] * len(timings)


def test_what_a_profile_tells_need_not_be_measured() -> None:
    engine = Diary()
    profiled = replace(SPEC, profile=(Cost("m", "300+0", 0.1, 0.1),))

    assert {each.beam for each in timed(profiled, engine)} == {5}
    assert time_batches(replace(profiled, decodes=(("m", 1),)), {"m": engine}) == ()


def test_a_batch_that_does_not_fit_is_left_out_and_no_reason_not_to_start() -> None:
    """The batcher learns to make smaller ones; it is told so by the first that fails."""
    timings = timed(SPEC, Diary(holds=1))

    assert {each.size for each in timings} == {1}


def test_batches_are_no_larger_than_the_device_makes_them() -> None:
    timings = timed(replace(SPEC, max_batch=1), Diary())

    assert [each.size for each in timings] == [1] * len(timings)


def test_many_streams_are_all_kept_busy() -> None:
    """Cores and a card share memory: what one batch takes by itself is not what it takes beside others."""
    engine = Diary()
    timings = timed(replace(SPEC, streams=20), engine)

    assert len(timings) == 4 * 2 * len(SHAPES)


def test_lines_are_drawn_for_every_bucket_up_to_the_longest_utterance() -> None:
    engine = Diary(each_s=0.01)
    costs = {cost.bucket: cost for cost in costs_of({"m": engine}, timed(SPEC, engine))}

    assert set(costs) == {str(Bucket(frames, beam=beam)) for frames in (300, 600, 900, 1200, 1500) for beam in (1, 5)}
    assert costs["300+0"].each_s == pytest.approx(0.01)
    assert costs["1500+0x5"].each_s >= costs["600+0x5"].each_s >= costs["300+0x5"].each_s > 0.005


def test_a_long_window_that_was_dear_does_not_make_short_ones_cost_nothing() -> None:
    """It may have been decoded twice. From a line of nothing, the first batch had no shape to scale, and the device
    died of it in each of its lives."""

    class Fine(Diary):
        def bucket(self, window: Window) -> Bucket:
            return Bucket(-(-window.frames // 100) * 100)

    timings = [Timing("m", 1, 4, 2.0, 0.5), Timing("m", 1, 1, 6.0, 0.8), Timing("m", 1, 1, 2.0, 0.1)]
    costs = list(costs_of({"m": Fine()}, timings))
    model = CostModel(warm_up=costs)
    model.observe(("m", Bucket(100)), 1, 0.05, 0.0)

    assert min(cost.line.at(1) for cost in costs) > 0
    assert model.predict(("m", Bucket(100)), 1) == pytest.approx(0.05)


def test_nothing_measured_draws_no_line() -> None:
    assert list(costs_of({}, ())) == []
