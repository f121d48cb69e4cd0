"""What the device bench computes: lines through costs, channels on them, and the roofline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gpu.cost import Cost
from gpu.engine import Engine
from gpu.errors import OutOfMemory
from gpu.short_windows import BUCKETS
from gpu.spec import DeviceSpec
from streaming.decoding import Float32Array, Hypothesis, Kind, Window
from streaming.ladder import Rung
from tests.bench import device_bay
from tests.bench.beside import Used
from tests.bench.device import Bench
from tests.bench.device_bay import Bay
from tests.bench.device_carried import Carried
from tests.bench.device_channels import Tally, bound, filled_in, modelled, most
from tests.bench.device_costs import Point, Timing, costs_of
from tests.bench.device_held import By, around, verdict
from tests.bench.device_plan import LENGTHS_S, plan_of
from tests.bench.device_store import LeftOut, Measuring, Row, Store
from tests.bench.forced import build as build_forced
from tests.bench.forced import said
from tests.bench.roofline import SHAPES, Peak, Shape, peak_of, windows_per_s
from tests.bench.scoring import Value
from tests.support.chaos import ChaosEngine
from tests.support.models import model_folder
from tests.support.random_whisper import Size, write_random_whisper

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
        return most(lambda n: modelled(costs, RUNG, n, streams=1, max_batch=16).keeps(1.0), 10, precision=0.3)

    slow, fast = carried(40.0), carried(20.0)

    assert slow >= 2
    assert fast >= 1.5 * slow


def test_channels_that_a_device_carries_easily_wait_for_nothing_but_the_endpoint() -> None:
    tally = modelled(FAST, RUNG, 3, streams=1, max_batch=16)

    assert tally.final.p95 == pytest.approx(0.32)
    assert tally.answered == tally.partials > 0


def test_partials_that_were_not_asked_for_because_the_last_took_so_long_are_missed() -> None:
    """Else a device would keep every cadence: who waits for an answer asks for no other."""
    slow = [Cost("m", "300+0", 0.7, 0.0), Cost("m", "1000+0", 0.7, 0.0)]
    leisurely, lively = (
        modelled(slow, Rung("m", "m", cadence_s=cadence_s), 1, streams=2, max_batch=4) for cadence_s in (1.0, 0.5)
    )

    assert leisurely.answered > 0.9 * leisurely.partials
    assert lively.answered < 0.8 * lively.partials


def test_most_finds_the_last_number_that_is_good() -> None:
    for guess in (1, 30, 37, 38, 500):
        assert most(lambda number: number <= 37, guess, precision=0.01) == 37
        assert most(lambda number: number <= 1, guess) == 1
        assert most(lambda _: False, guess) == 0


def test_no_device_carries_more_than_its_batches_hold() -> None:
    """It says where to begin the search: a device of a thousand channels is not tried from one on."""
    most_of_all = bound(FAST, RUNG, streams=1, max_batch=16)

    assert not modelled(FAST, RUNG, 2 * most_of_all, streams=1, max_batch=16).keeps(1.0)
    assert most_of_all > bound(FAST, RUNG, streams=1, max_batch=1)


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


@pytest.mark.parametrize(("gpu", "card"), [("NVIDIA L4, 570.1", "L4"), ("NVIDIA L40S, 570.1", "L40S")])
def test_a_card_is_known_by_its_whole_name(gpu: str, card: str) -> None:
    """An L4 has a third of an L40S."""
    peak = peak_of("cuda:0", gpu, 1)

    assert peak is not None
    assert peak.source.startswith(card)


def test_a_card_that_is_not_known_has_no_roofline() -> None:
    assert peak_of("cuda:0", "NVIDIA Something 9000", 1) is None
    assert peak_of("cuda:0", None, 1) is None


# --- channels held for real --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keeps", "tried"),
    [(20, [17, 21]), (40, [17, 21, 26]), (15, [17, 14]), (3, [17, 14, 11])],
)
async def test_channels_are_held_on_both_sides_of_what_is_kept(keeps: int, tried: list[int]) -> None:
    """Beginning with what the model says: two neighbours, one kept and one not, judge it; three numbers are enough."""
    held: list[int] = []

    async def hold(channels: int) -> Row:
        held.append(channels)
        return {"verdict": "kept" if channels <= keeps else "p95 over 1 s"}

    await around(hold, 17)

    assert held == tried


async def test_no_channel_at_all_is_not_held() -> None:
    """A model too slow for one channel is not tried with none."""
    held: list[int] = []

    async def hold(channels: int) -> Row:
        held.append(channels)
        return {"verdict": "p95 over 1 s"}

    await around(hold, 0)

    assert held == [1]


@pytest.mark.parametrize(
    ("tally", "late_s", "said_of_it"),
    [
        (Tally([0.4] * 20, partials=10, answered=9), 0.0, "kept"),
        (Tally([0.4] * 20, partials=10, answered=8), 0.0, "partials missed"),
        (Tally([1.2] * 20, partials=10, answered=10), 0.0, "p95 over 1 s"),
        (Tally([], partials=10, answered=10), 0.0, "p95 over 1 s"),
        (Tally([0.4] * 20, partials=10, answered=10, failed=2), 0.0, "2 finals failed"),
        (Tally([0.4] * 20, partials=10, answered=10), 0.3, "host 0.3 s late"),
    ],
)
def test_a_number_of_channels_is_kept_or_it_is_said_what_was_not(tally: Tally, late_s: float, said_of_it: str) -> None:
    """A host that hands audio over late measures itself, and a run without a final measures nothing."""
    assert verdict(tally, 1.0, late_s) == said_of_it


# --- runs that are broken off ------------------------------------------------------------------------


def measure_nothing(rows: Store, key: str) -> Row:
    return rows.get(key, lambda: pytest.fail(f"{key} was measured again"))


def test_a_run_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    """A GPU is lent for minutes; what was measured is not paid for twice."""
    first = Store(tmp_path / "rows.json", "card, commit")
    first.get("one", lambda: {"windows_per_s": 5.0})

    second = Store(tmp_path / "rows.json", "card, commit")
    assert second.load()
    assert measure_nothing(second, "one") == {"windows_per_s": 5.0}


@pytest.mark.parametrize("made_on", ["another card, commit", "card, another commit"])
def test_rows_of_another_machine_or_of_other_code_are_forgotten(tmp_path: Path, made_on: str) -> None:
    """They would stand in one table."""
    Store(tmp_path / "rows.json", "card, commit").get("one", dict[str, Value])
    other = Store(tmp_path / "rows.json", made_on)

    assert not other.load()
    assert other.rows == {}


def test_what_a_part_took_adds_up_over_runs(tmp_path: Path) -> None:
    """A budget that a run in pieces keeps by forgetting its first piece is none."""
    with Store(tmp_path / "rows.json", "here").spending("costs"):
        sum(range(100_000))
    store = Store(tmp_path / "rows.json", "here")
    store.load()
    before = store.spent["costs"]
    with store.spending("costs"):
        sum(range(100_000))

    assert store.spent["costs"].wall_s > before.wall_s > 0.0
    assert store.spent["costs"].cpu_s >= before.cpu_s >= 0.0


def test_what_others_used_beside_a_measurement_is_told() -> None:
    """Five seconds of twenty were its own, in ten by the clock: whoever reads the table must know."""
    used = Used(wall_s=4.0, cpu_s=2.0, machine_s=4.0) + Used(wall_s=6.0, cpu_s=3.0, machine_s=16.0)

    assert used.others_cores == 1.5
    assert str(used) == "10 s, 5 s of processors, others 1.5 cores beside it"
    assert Used().others_cores == 0.0


def test_what_failed_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    """A library may have been installed meanwhile."""
    store = Store(tmp_path / "rows.json", "card, commit")
    for _ in range(3):
        with pytest.raises(OutOfMemory), store.attempt("one"):
            raise OutOfMemory("no room")
        store = Store(tmp_path / "rows.json", "card, commit")
        store.load()

    assert store.get("one", lambda: {"tokens": 1}) == {"tokens": 1}


def test_a_measurement_that_ends_whole_runs_is_left_out(tmp_path: Path) -> None:
    """Some drivers end the process: each run would come as far as there and no further."""
    for _ in range(2):
        store = Store(tmp_path / "rows.json", "card, commit")
        store.load()
        attempt = store.attempt("one")
        attempt.__enter__()  # and the process is gone
    last = Store(tmp_path / "rows.json", "card, commit")
    last.load()

    with pytest.raises(LeftOut, match="--fresh"):
        measure_nothing(last, "one")


# --- what a machine does not have ------------------------------------------------------------------------


def test_where_pytorch_is_not_installed_a_gpu_is_measured_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torch"}

    def find(name: str) -> str | None:
        return name if name in installed else None

    monkeypatch.setattr("tests.bench.device_plan.importlib.util.find_spec", find)
    assert plan_of("cuda:0").engines == ("whisper", "torch")
    assert plan_of("cpu").engines == ("whisper",)
    installed.clear()
    assert plan_of("cuda:0").engines == ("whisper",)


def test_a_gpus_channels_are_counted_with_large_shapes_that_share_their_features() -> None:
    """Partials of small and finals of turbo are the goal, and both must take one channel's features."""
    for models in plan_of("cuda:0").pairs:
        assert len({SHAPES[model.removesuffix(" (random)").removesuffix(".en")].n_mels for model in models}) == 1


def sound_of_nothing(n_mels: int) -> Float32Array:
    """Features without a clip having been read; not silent, and to an engine of chaos an order to answer."""
    return np.zeros((n_mels, 3000), np.float32)


def few(sustains: Callable[[int], bool], guess: int) -> int:
    """A number of channels that takes no search: models as small as those of tests would carry thousands."""
    assert guess > 0
    assert sustains(1)
    return 2


def measuring_of(tmp_path: Path) -> Measuring:
    return Measuring(Store(tmp_path / "rows.json", "here"), Console(file=StringIO()))


def bench_of(measuring: Measuring, tmp_path: Path) -> Bench:
    return Bench(plan_of("cpu", models="tiny.en"), measuring, Bay("cpu", "int8", 8, tmp_path / "random"))


def test_an_engine_that_cannot_be_had_is_said_once_and_the_bench_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No CUDA libraries, no PyTorch, no model: one line says what to install, instead of one for every size."""

    def without(spec: DeviceSpec, model: str) -> Engine:
        raise OutOfMemory(f"no room for {model} on {spec.device}")

    monkeypatch.setattr(device_bay, "build", without)
    measuring = measuring_of(tmp_path)

    assert bench_of(measuring, tmp_path).costs("whisper", 1, None) == []
    assert measuring.problems == ["whisper tiny.en 2s x1 on 1, beam 1: no room for tiny.en on cpu"]


def test_sizes_that_do_not_fit_are_left_out_and_the_others_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest batches of the largest model do not fit on every card."""

    def small(spec: DeviceSpec, model: str) -> Engine:
        assert spec.device == "cpu"
        return ChaosEngine(model, fixed_s=0.0, each_s=0.0, memory=2, greedy=False)

    monkeypatch.setattr(device_bay, "build", small)
    monkeypatch.setattr(device_bay, "sound", sound_of_nothing)
    measuring = measuring_of(tmp_path)
    rows = bench_of(measuring, tmp_path).costs("whisper", 1, None)

    assert {row["batch"] for row in rows} == {1}
    assert len(measuring.problems) == 2 * 3 + 1  # batches of 4 and 8 of three lengths, and one of 4 with a beam


def test_pytorch_gets_room_for_fewer_windows_where_there_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the memory of all its windows when it starts: 60 GiB for 256 of large-v3."""
    asked: list[int] = []

    def crowded(spec: DeviceSpec, model: str) -> Engine:
        asked.append(spec.max_batch)
        if spec.max_batch > 2:
            raise OutOfMemory(f"model {model} does not fit")
        return ChaosEngine(model, fixed_s=0.0, each_s=0.0, memory=9, greedy=True)

    monkeypatch.setattr(device_bay, "build", crowded)
    Bay("cpu", "int8", 8, tmp_path).engine("torch", "tiny.en", 2)

    assert asked == [8, 4, 2]


# --- random weights ------------------------------------------------------------------------


ENGINES = [
    "whisper",
    pytest.param("torch", marks=pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed here")),
]
SMALL = Shape(width=64, encoder_layers=2, decoder_layers=2)


@pytest.mark.parametrize("of", ENGINES, ids="{}_engine".format)
def test_random_weights_write_as_many_tokens_as_people_would_have_said(of: str, tmp_path: Path) -> None:
    """Else a shape's speed would be that of its noise."""
    write_random_whisper(tmp_path / "shape", Size(), model_folder("base"))
    spec = DeviceSpec(name="one", models=("shape",), options={"of": of})
    engine = build_forced(spec, str(tmp_path / "shape"))
    heard = np.random.default_rng(1).normal(-4.0, 1.0, (80, 500)).astype(np.float32)
    windows = [Window(heard, kind, "en") for kind in (Kind.PARTIAL, Kind.FINAL)]
    answers: Sequence[Hypothesis] = engine.decode(windows)

    assert [answer.words for answer in answers] == [(), ()]
    assert getattr(engine, "tokens") == 2 * said(5.0)  # noqa: B009  it is no part of an engine
    engine.close()


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ENGINES, ids="{}_engine".format)
def test_an_engine_is_measured_from_its_batches_to_the_channels_that_a_device_process_carries(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, with a model and a shape so small that it takes seconds: on a GPU it must work the first time."""
    monkeypatch.setitem(SHAPES, "small", SMALL)
    monkeypatch.setattr("tests.bench.device_carried.CADENCES_S", (1.0,))
    monkeypatch.setattr("tests.bench.device_held.LONE_FINALS", 2)
    monkeypatch.setattr("tests.bench.device_held.TRIES", 1)
    for module in ("device_channels", "device_sessions"):
        monkeypatch.setattr(f"tests.bench.{module}.SETTLE_S", 0.1)
    monkeypatch.setattr(device_bay, "sound", sound_of_nothing)
    write_random_whisper(tmp_path / "tiny", Size(64, 1), model_folder("base"))
    model = str(tmp_path / "tiny")
    plan = replace(
        plan_of("cpu", models=model, engines=engine, shapes="small", hold_s=2.0),
        pairs=((model, model), ("small (random)", "small (random)")),
        batches=(1, 2),
        timing=Timing(windows=2, rounds=1, warm_ups=1, warm_windows=1, by_processor=True),
    )
    monkeypatch.setattr("tests.bench.device_carried.most", few)
    measuring, bay = measuring_of(tmp_path), Bay("cpu", "float32", 2, tmp_path / "random")
    bench = Bench(plan, measuring, bay)
    streams = bench.streams(engine)
    rows = bench.costs(engine, streams, Peak(1e11, 1e10, "test"))
    costs = tuple(costs_of(rows, engine, streams))
    channels = Carried(plan, measuring, bay, engine=engine, costs=costs, streams=streams).channels()
    one_pair = replace(plan, pairs=plan.pairs[:1])
    carried = Carried(one_pair, measuring, bay, engine=engine, costs=costs, streams=streams)
    held = carried.held()

    assert measuring.problems == []
    assert {str(row["model"]) for row in rows} == {model, "small (random)"}
    assert all(row["windows_per_s"] for row in rows)
    assert {row["tokens"] for row in rows if row["model"] == "small (random)"} == {said(each) for each in LENGTHS_S}
    assert [row["channels_modelled"] == 2 and row["alone_p95_ms"] is not None for row in channels] == [True, True]
    assert [(row["windows_by"], row["channels"]) for row in held] == [(by, 2) for by in By]
    assert all(row["partials_pct"] is not None for row in held)
    assert carried.held() == held  # and no device process is started for what was held before
