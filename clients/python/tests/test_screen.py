"""A call on a terminal and on none."""

from __future__ import annotations

import io

from rich.console import Console

from trunkline.messages import Ack, Final, Partial, Word
from trunkline.screen import CallScreen


def partial(text: str, stable: int, *words: str) -> Partial:
    said = tuple(Word(word, 61.0, 62.0, 1.0) for word in words)
    return Partial(0, "customer", 0, 0, 61.0, 62.0, text, stable, said, "en", "m")


FINAL = Final(1, "agent", 0, 0.06, 61.25, "Good morning.", (), 1.0, "en", "m", "endpoint", 61.2, 0.1)


def shown(*events: Partial | Final | Ack, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None, legacy_windows=False)
    with CallScreen(console, ("customer", "agent")) as screen:
        for event in events:
            screen.show(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_a_final_is_a_line() -> None:
    """Pipes and logs get what will not change, and nothing else."""
    assert shown(partial("good", 0), FINAL, Ack(1.0), terminal=False) == " 0:00.1  1:01.2  agent     Good morning.\n"


def test_on_a_terminal_interim_words_are_there_until_the_final_is() -> None:
    """People watch a call to see it as it is spoken."""
    seen = shown(partial("good mor", 1, "good", "mor"), FINAL, terminal=True)

    assert " 1:01.0    ...  customer  good mor" in seen
    assert " 0:00.1  1:01.2  agent     Good morning." in seen


def test_what_is_final_is_no_longer_interim() -> None:
    """The same words twice, once grey and once not, would look like an echo."""
    mine = Final(0, "customer", 0, 61.0, 62.0, "Good morning.", (), 1.0, "en", "m", "endpoint", 62.0, 0.1)
    seen = shown(partial("good mor", 0), mine, terminal=True)

    assert "..." not in seen[seen.index("Good morning.") :]


def test_stable_words_that_are_not_the_texts_first_are_no_trouble() -> None:
    """Servers may write words and text apart; the text is what is shown."""
    assert "Good mor" in shown(partial("Good mor", 1, "good", "mor"), terminal=True)


def test_long_lines_are_not_broken_without_a_terminal() -> None:
    """One final is one line, however long: scripts count on it."""
    long = Final(0, "customer", 0, 0.0, 9.0, "word " * 60, (), 1.0, "en", "m", "endpoint", 9.0, 0.1)

    assert shown(long, terminal=False).count("\n") == 1
