"""The diagrams of the documentation are those of the code."""

from __future__ import annotations

from tests.support.state_diagrams import PAGE, diagrams, drawn


def test_the_page_shows_the_tables_the_code_goes_by() -> None:
    """A diagram that is drawn by hand is wrong a month later. ``make diagrams`` draws them anew."""
    page = PAGE.read_text("utf-8")

    assert all(f"<!-- begin states {name} -->" in page for name in diagrams())
    assert drawn(page) == page


def test_a_diagram_has_every_move_and_no_standing_still() -> None:
    """What a state merely takes would hide where it leads."""
    lines = diagrams()["slot"].splitlines()

    assert lines[1] == "    [*] --> recovering"
    assert "    serving --> stopped" in lines
    assert lines[-1] == "    stopped --> [*]"
    assert not any("open --> open" in line for line in diagrams()["call"].splitlines())
