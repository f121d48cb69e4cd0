"""What is said in a recording, from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.reference import read_reference
from trunkline.timing import Turn


def test_turns_are_read_and_everything_else_is_left(tmp_path: Path) -> None:
    """The file also says where the recording is from, which is nobody's business here."""
    path = tmp_path / "call.json"
    path.write_text(
        '{"labels": ["a", "b"], "licence": "CC0", "turns": ['
        '{"channel": 1, "start_s": 0, "end_s": 1.5, "text": "One.", "source": "x"},'
        '{"channel": 0, "start_s": 2, "end_s": 3, "text": "Two."},'
        '{"channel": 1, "start_s": 4, "end_s": 5}]}'
    )
    reference = read_reference(path)

    assert reference.labels == ("a", "b")
    assert reference.turns[:2] == (Turn(1, 0.0, 1.5, "One."), Turn(0, 2.0, 3.0, "Two."))
    assert reference.text(1).strip() == "One."


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"turns": [{"channel": 0}]}'])
def test_what_is_no_reference_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """Measuring against nothing would look like a perfect server."""
    path = tmp_path / "call.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=r"call\.json is no reference"):
        read_reference(path)
