"""Whisper's rules about timestamps, one by one, on a vocabulary small enough to read."""

from __future__ import annotations

import pytest

from tests.support.models import need_torch

need_torch()

from gpu.torch_engine.rules import LATEST_START, Past, Rules  # noqa: E402  torch is there
from gpu.torch_engine.untyped import Tensor, torch  # noqa: E402  the same

A, B, NEVER, EOT, SOT, NO_STAMPS, T0 = range(7)
VOCABULARY = T0 + 100


@pytest.fixture
def rules() -> Rules:
    return Rules(VOCABULARY, EOT, T0, [NEVER, SOT], "cpu")


def scores(likely: dict[int, float]) -> Tensor:
    row = torch.full((1, VOCABULARY), -20.0)
    for token, score in likely.items():
        row[0, token] = score
    return row


def choice(rules: Rules, written: list[int], likely: dict[int, float]) -> int:
    tokens, logprobs = rules.choose(scores(likely), Past.of([written], T0, "cpu"))
    assert float(logprobs[0]) <= 1e-6
    return int(tokens[0])


def test_the_first_token_is_a_timestamp_of_the_first_second(rules: Rules) -> None:
    assert choice(rules, [], {A: 9, EOT: 8, T0 + LATEST_START + 1: 7, T0 + 3: 1}) == T0 + 3


def test_text_follows_the_first_timestamp(rules: Rules) -> None:
    assert choice(rules, [T0], {T0: 9, T0 + 40: 9, A: 1}) == A


def test_a_segment_ends_where_timestamps_together_are_likelier_than_any_token(rules: Rules) -> None:
    """None of them alone needs to be."""
    near = {T0 + step: 1.0 for step in range(10, 20)}
    assert choice(rules, [T0, A], {B: 1.5, **near}) == T0 + 10
    assert choice(rules, [T0, A], {B: 4.0, **near}) == B


def test_timestamps_never_go_back(rules: Rules) -> None:
    assert choice(rules, [T0 + 30, A], {T0 + 30: 9, T0 + 29: 9, T0 + 31: 1}) == T0 + 31


def test_behind_a_segments_end_comes_the_next_ones_start_or_the_end(rules: Rules) -> None:
    """The next may start where this one ended."""
    assert choice(rules, [T0, A, T0 + 30], {B: 9, T0 + 29: 8, T0 + 30: 1}) == T0 + 30
    assert choice(rules, [T0, A, T0 + 30], {B: 9, EOT: 5, T0 + 30: 1}) == EOT


def test_no_third_timestamp_follows_two(rules: Rules) -> None:
    assert choice(rules, [T0, A, T0 + 30, T0 + 30], {T0 + 30: 9, T0 + 50: 9, A: 1}) == A


def test_what_is_suppressed_is_never_written(rules: Rules) -> None:
    assert choice(rules, [T0, A], {NEVER: 9, SOT: 9, NO_STAMPS: 9, B: 1}) == B


def test_rows_do_not_see_one_another(rules: Rules) -> None:
    """A batch gives each row what it gets alone."""
    written = [[], [T0], [T0, A], [T0, A, T0 + 30], [T0, A, T0 + 30, T0 + 30]]
    logits = torch.randn((len(written), VOCABULARY), generator=torch.Generator().manual_seed(1)) * 5

    together = rules.choose(logits, Past.of(written, T0, "cpu"))
    alone = [rules.choose(logits[[row]], Past.of([tokens], T0, "cpu")) for row, tokens in enumerate(written)]

    assert together[0].tolist() == [int(tokens[0]) for tokens, _ in alone]
    assert torch.allclose(together[1], torch.cat([logprobs for _, logprobs in alone]))


def test_what_is_past_moves_on_by_itself(rules: Rules) -> None:
    """On the device no list of tokens is kept, only what the rules need of it."""
    past = Past.of([[]], T0, "cpu")
    written: list[int] = []
    for token in (T0, A, B, T0 + 9, T0 + 9, A):
        written.append(token)
        past = rules.after(past, torch.tensor([token]))
        known = Past.of([written], T0, "cpu")
        assert [int(one) for one in (past.last, past.before, past.stamp)] == [
            int(one) for one in (known.last, known.before, known.stamp)
        ]
