"""What was said in a call so far, side by side."""

from __future__ import annotations

from trunkline.messages import Event, Final, Partial, Ready, Watching


class Transcript:
    """Collects a call's finals, and each side's newest partial."""

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ()
        """Names of the sides."""
        self._finals: dict[int, list[Final]] = {}
        self._partials: dict[int, Partial] = {}

    def add(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Ready() | Watching():
                self.labels = event.labels
            case Partial():
                self._partials[event.channel] = event
            case Final():
                self._finals.setdefault(event.channel, []).append(event)
                self._partials.pop(event.channel, None)
            case _:
                pass

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels that have text, in order."""
        return tuple(sorted(self._finals.keys() | self._partials.keys()))

    def finals(self, channel: int | None = None) -> tuple[Final, ...]:
        """Return a channel's finals in order, or those of all channels by when they began."""
        if channel is not None:
            return tuple(self._finals.get(channel, ()))
        every = (final for finals in self._finals.values() for final in finals)
        return tuple(sorted(every, key=lambda final: (final.start, final.channel)))

    def partial(self, channel: int) -> Partial | None:
        """Return what a channel seems to be saying, or None where nothing is open."""
        return self._partials.get(channel)

    def text(self, channel: int) -> str:
        """Return a channel's final text."""
        return " ".join(final.text for final in self._finals.get(channel, ()))
