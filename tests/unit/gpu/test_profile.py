"""Files of measured costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu.cost import Cost
from gpu.errors import BadProfile
from gpu.profile import Profile, read_profile, write_profile

PROFILE = Profile(
    measured="2026-11-24",
    device="cpu",
    machine="2 cores",
    engine="whisper",
    compute_type="int8",
    streams=2,
    max_batch=16,
    costs=(Cost("tiny.en", "300+0", 0.05, 0.02, 0.004), Cost("base", "600+0x5", 0.1, 0.05)),
)


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "build" / "cpu.json"
    write_profile(file, PROFILE)

    assert read_profile(file) == PROFILE
    assert sum("tiny.en" in line for line in file.read_text().splitlines()) == 1, "a cost a line"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("not json", "is not a profile"),
        ("[]", "is not a profile"),
        ('{"format": 2}', "not a profile of format 1"),
        ('{"format": 1}', "is not a profile"),
        ('{"format": 1, "costs": [{"model": "m"}]}', "is not a profile"),
    ],
)
def test_a_file_of_something_else_is_refused_with_its_name(tmp_path: Path, content: str, problem: str) -> None:
    """Costs of another shape would mislead the batcher without anybody noticing."""
    file = tmp_path / "other.json"
    file.write_text(content)

    with pytest.raises(BadProfile, match=problem) as caught:
        read_profile(file)
    assert str(file) in str(caught.value)


def test_a_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match=r"missing\.json cannot be read"):
        read_profile(tmp_path / "missing.json")
