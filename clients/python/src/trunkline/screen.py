"""A call on the screen: interim words change in place, final ones stay. Without a terminal: a plain line per final."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Final as Constant
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from trunkline.messages import Event, Final, Partial
from trunkline.transcript import Transcript

COLOURS: Constant = ("cyan", "yellow", "magenta", "green")


class CallScreen:
    """Shows one call while the context lasts.

    Args:
        console: Where to.
        labels: Names of the sides; the events' own names where there are none.
    """

    def __init__(self, console: Console, labels: tuple[str, ...] = ()) -> None:
        self._console = console
        self._transcript = Transcript()
        self._width = max((len(label) for label in labels), default=8)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with contextlib.suppress(BrokenPipeError):
                self._live.stop()

    def show(self, event: Event) -> None:
        """Show what an event changes."""
        self._transcript.add(event)
        match event:
            case Final():
                self._refresh()  # first: printing draws the open lines again, and this one is no longer open
                self._console.print(self._final(event), soft_wrap=self._live is None)
            case Partial():
                self._refresh()
            case _:
                pass

    def _refresh(self) -> None:
        if self._live is not None:
            open_ones = (self._transcript.partial(channel) for channel in self._transcript.channels)
            lines = [self._interim(partial) for partial in open_ones if partial is not None]
            self._live.update(Text("\n").join(lines), refresh=True)

    def _final(self, final: Final) -> Text:
        times = (f"{_clock(final.start)} {_clock(final.end)}  ", "dim")
        return Text.assemble(times, self._label(final.channel, final.label), final.text)

    def _interim(self, partial: Partial) -> Text:
        stable = " ".join(word.text for word in partial.words[: partial.stable])
        if not partial.text.startswith(stable):
            stable = ""
        return Text.assemble(
            (f"{_clock(partial.start)}    ...  ", "dim"),
            self._label(partial.channel, partial.label),
            (stable, "grey70"),
            (partial.text[len(stable) :], "italic grey50"),
        )

    def _label(self, channel: int, label: str) -> Text:
        return Text(f"{label:<{self._width}}  ", style=f"bold {COLOURS[channel % len(COLOURS)]}")


def _clock(seconds: float) -> str:
    """Write seconds as minutes, seconds and tenths."""
    tenths = round(seconds * 10)
    return f"{tenths // 600:2d}:{tenths // 10 % 60:02d}.{tenths % 10}"
