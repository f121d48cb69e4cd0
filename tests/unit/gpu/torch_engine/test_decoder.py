"""Rows that come, go and bring drafts write what each writes alone, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.support.models import model_folder, need_torch

need_torch()

from gpu.engine import Bucket  # noqa: E402  torch is there
from gpu.short_windows import Job, padded  # noqa: E402  the same
from gpu.torch_engine.decoder import Decoder, Steps  # noqa: E402  the same
from gpu.torch_engine.graphs import Rounding  # noqa: E402  the same
from gpu.torch_engine.network import Cache, Network  # noqa: E402  the same
from gpu.torch_engine.rows import Row  # noqa: E402  the same
from gpu.torch_engine.rules import Rules  # noqa: E402  the same
from gpu.torch_engine.untyped import torch  # noqa: E402  the same
from gpu.torch_engine.weights import read_weights  # noqa: E402  the same
from gpu.vocabulary import Vocabulary  # noqa: E402  the same
from streaming.decoding import Kind, Window  # noqa: E402  the same
from tests.support.windows import clip_features  # noqa: E402  the same

pytestmark = pytest.mark.timeout(120)

CLIPS = ("press_8k", "later_8k", "unusual_16k")
SLOTS = 4


class Bench:
    """A decoder of a real model with few slots, and rows to put into it."""

    def __init__(self, steps: Callable[[Steps], Callable[[int, int, int], None]] = lambda steps: steps) -> None:
        folder = model_folder("tiny.en")
        vocabulary = Vocabulary(folder)
        self.sot = vocabulary.sot
        self.network = Network(read_weights(folder), "cpu", torch.float32)
        rules = Rules(
            self.network.shape.vocabulary, vocabulary.eot, vocabulary.timestamp_begin, [vocabulary.sot], "cpu"
        )
        self.decoder = Decoder(
            self.network,
            Cache(self.network.shape, SLOTS, [(2, 0), (3, 1)], self.network.sample),
            rules,
            task=lambda _: (vocabulary.sot,),
            languages=[],
            sot=vocabulary.sot,
            no_speech=vocabulary.timestamp_begin - 2,
            steps=steps,
        )

    def row(self, name: str, *, frames: int = 500, draft: Sequence[int] = (), before: Sequence[int] = ()) -> Row:
        window = Window(clip_features(name)[:, : frames - 100], Kind.FINAL, "en")
        features = torch.from_numpy(padded([Job(0, window, Bucket(frames), ())]))
        with torch.inference_mode():
            heard = self.network.encode(features)[:, :, 0]
        return Row(heard, tuple(before), (self.sot,), tuple(draft), 60, window.seconds, align=True)

    def finish(self, rows: Sequence[Row], *, leave: int = 0) -> None:
        """Join rows and step until no more than ``leave`` of all are left."""
        with torch.inference_mode():
            self.decoder.join(rows)
            while SLOTS - self.decoder.free > leave:
                self.decoder.step()

    def alone(self, name: str, **options: Sequence[int]) -> Row:
        row = self.row(name, **options)  # type: ignore[arg-type]  # frames keep their default
        self.finish([row])
        return row


@pytest.fixture(scope="module")
def bench() -> Bench:
    torch.set_num_threads(1)
    return Bench()


def test_rows_of_unlike_lengths_and_prompts_write_together_what_each_writes_alone(bench: Bench) -> None:
    """The batch that breaks other servers: audio of 3 and 5 s, prompts of none, one and thirty tokens."""
    prompts: list[list[int]] = [[], [50360, 1002], [50360, *range(1000, 1029)]]
    shapes = list(zip(CLIPS, (300, 500, 500), prompts, strict=True))
    alone = [bench.row(name, frames=frames, before=before) for name, frames, before in shapes]
    for row in alone:
        bench.finish([row])

    together = [bench.row(name, frames=frames, before=before) for name, frames, before in shapes]
    bench.finish(together)

    assert [row.written for row in together] == [row.written for row in alone]
    assert all(len(row.written) > 5 for row in alone)


def test_a_row_joins_and_leaves_while_others_are_under_way(bench: Bench) -> None:
    """The place of one that leaves is taken by the last; nobody notices."""
    expected = {name: bench.alone(name).written for name in CLIPS}
    first, second, third = (bench.row(name) for name in CLIPS)

    with torch.inference_mode():
        bench.decoder.join([first, second])
        for _ in range(4):
            bench.decoder.step()
    bench.finish([third])

    assert [row.written for row in (first, second, third)] == [expected[name] for name in CLIPS]
    assert bench.decoder.free == SLOTS


@pytest.mark.parametrize("name", CLIPS)
def test_a_right_draft_is_checked_in_one_pass(bench: Bench, name: str) -> None:
    """What is known already costs no step; the token behind it comes with the check."""
    plain = bench.alone(name)

    drafted = bench.alone(name, draft=plain.written[:-1])

    assert drafted.written == plain.written
    assert drafted.checked == len(plain.written) - 1
    assert drafted.steps <= 1
    assert drafted.logprobs == pytest.approx(plain.logprobs, abs=1e-3)


@pytest.mark.parametrize("name", CLIPS)
def test_a_draft_is_right_as_far_as_it_is_right(bench: Bench, name: str) -> None:
    """Wherever it goes wrong, what is written is what would have been written."""
    plain = bench.alone(name)
    for wrong_at in range(0, len(plain.written), 4):
        draft = [*plain.written[:wrong_at], 440, 441, 442]

        drafted = bench.alone(name, draft=draft)

        assert drafted.written == plain.written
        assert drafted.checked == wrong_at


@pytest.mark.parametrize("draft", [[0], [50256], [50362], [50363] * 5, [50363, 50363, 400], [51863, 50363], [999] * 40])
def test_no_draft_changes_what_is_written(bench: Bench, draft: list[int]) -> None:
    """Whatever another model, another version or a fault brings along: ends, timestamps alone, nonsense."""
    assert bench.alone("later_8k", draft=draft).written == bench.alone("later_8k").written


def test_a_row_stops_where_its_audio_ends(bench: Bench) -> None:
    """What the model would write about the padding behind it is not waited for."""
    row = bench.alone("later_8k")

    assert row.ended
    assert row.written[-1] >= 50363
    assert row.steps <= len(row.written)


def test_attention_is_kept_of_every_token_whichever_way_it_was_written(bench: Bench) -> None:
    """Words are timed by it: of the draft, of steps, and after a move to another slot."""
    plain = bench.alone("press_8k")
    drafted = bench.row("press_8k", draft=plain.written[:6])
    bench.finish([bench.row("later_8k"), drafted])

    assert plain.attention is not None
    assert drafted.attention is not None
    assert plain.attention.shape[:2] == (2, len(plain.logprobs))
    assert plain.attention.sum(axis=2) == pytest.approx(1.0, abs=1e-4)
    assert drafted.attention == pytest.approx(plain.attention, abs=1e-3)


def test_slots_without_rows_may_be_stepped_too() -> None:
    """CUDA graphs have few shapes: rows are rounded up, and what happens in empty slots must reach nobody."""

    def in_few_shapes(steps: Steps) -> Callable[[int, int, int], None]:
        rounding = Rounding(SLOTS, 448, 1500)
        return lambda rows, said, longest: steps(*rounding(rows, said, longest))

    plain, rounded = Bench(), Bench(in_few_shapes)
    expected = [plain.alone(name).written for name in CLIPS]

    written = [rounded.alone(name) for name in CLIPS]
    together = [rounded.row(name) for name in CLIPS]
    rounded.finish(together)
    for _ in range(100):  # an empty slot would walk off the end of the cache
        rounded.finish([rounded.row("later_8k", frames=300)])
    again = rounded.row("press_8k")
    rounded.finish([rounded.row("later_8k"), again])

    assert [row.written for row in written] == expected
    assert [row.written for row in together] == expected
    assert again.written == expected[0]


@pytest.mark.parametrize(
    ("shape", "rounded"),
    [
        ((1, 32, 150), (1, 64, 250)),
        ((3, 64, 250), (4, 64, 250)),
        ((9, 65, 251), (12, 128, 500)),
        ((12, 448, 1500), (12, 448, 1500)),
    ],
)
def test_steps_have_few_shapes(shape: tuple[int, int, int], rounded: tuple[int, int, int]) -> None:
    """Each takes memory and a moment when it is first met."""
    assert Rounding(12, 448, 1500)(*shape) == rounded


@pytest.mark.parametrize("name", CLIPS)
def test_a_draft_that_is_wrong_in_one_place_costs_a_few_steps_only(bench: Bench, name: str) -> None:
    """Left out, put in, or another: behind it the draft is taken up again."""
    plain = bench.alone(name)
    for wrong in ([], [440], [plain.written[3], 440]):
        draft = [*plain.written[:3], *wrong, *plain.written[4:-1]]

        drafted = bench.alone(name, draft=draft)

        assert drafted.written == plain.written
        assert drafted.steps <= 5


def test_rows_with_and_without_guesses_step_together(bench: Bench) -> None:
    """One that guesses takes all others a step along."""
    expected = {name: bench.alone(name).written for name in CLIPS}
    drafts = [[*expected[CLIPS[0]][:3], 440, *expected[CLIPS[0]][4:]], [], [*expected[CLIPS[2]][:5], 441]]
    rows = [bench.row(name, draft=draft) for name, draft in zip(CLIPS, drafts, strict=True)]

    bench.finish(rows)

    assert [row.written for row in rows] == list(expected.values())
