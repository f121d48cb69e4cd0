"""What happens to a call, in the words of the native protocol; for the call's own client and for those who watch."""

from __future__ import annotations

from server.dialect import Acked, Event
from streaming import messages, records
from streaming.decoding import Word
from streaming.messages import ServerMessage


class NativeView:
    """Renders one call's events.

    Args:
        labels: Names of the call's sides.
        interim: Whether partials are wanted.
    """

    __slots__ = ("_finals", "_interim", "_labels")

    def __init__(self, labels: tuple[str, ...], *, interim: bool = True) -> None:
        self._labels = labels
        self._interim = interim
        self._finals = 0

    def render(self, event: Event) -> ServerMessage | None:
        """Return the message of an event, or None for what clients are not told."""
        match event:
            case Acked(audio_s):
                return messages.Ack(audio_s)
            case records.Partial():
                return self._partial(event) if self._interim else None
            case records.Final():
                self._finals += 1
                return self._final(event)
            case records.SpeechStarted(_, _, channel, at):
                return messages.SpeechStarted(channel, self._labels[channel], at)
            case records.SpeechEnded(_, _, channel, at):
                return messages.SpeechEnded(channel, self._labels[channel], at)
            case records.UtteranceEnded(_, _, channel, at):
                return messages.UtteranceEnd(channel, self._labels[channel], at)
            case records.Finalized(_, _, channel, marker):
                return messages.Finalized(marker, channel)
            case records.Dtmf(_, _, channel, digit, at):
                return messages.Dtmf(channel, self._labels[channel], digit, at)
            case records.Paused(_, _, paused, at):
                return messages.Paused(at) if paused else messages.Unpaused(at)
            case records.QualityChanged(_, _, model, reason):
                return messages.Quality(model, reason)
            case records.CallClosed(_, call, reason, audio_s, padded_s):
                return messages.Closed(call, reason, audio_s, padded_s, self._finals)
            case _:
                return None

    def _partial(self, partial: records.Partial) -> messages.Partial:
        return messages.Partial(
            channel=partial.channel,
            label=self._labels[partial.channel],
            number=partial.number,
            revision=partial.revision,
            start=partial.start,
            end=partial.end,
            text=text_of(partial.words),
            stable=partial.stable,
            words=partial.words,
            language=partial.language,
            model=partial.model,
        )

    def _final(self, final: records.Final) -> messages.Final:
        return messages.Final(
            channel=final.channel,
            label=self._labels[final.channel],
            number=final.number,
            start=final.words[0].start,
            end=final.words[-1].end,
            text=text_of(final.words),
            words=final.words,
            confidence=confidence_of(final.words),
            language=final.language,
            model=final.model,
            reason=final.reason,
            speech_end=final.speech_end,
            latency_s=final.latency_s,
        )


def text_of(words: tuple[Word, ...]) -> str:
    """Return the words joined by spaces."""
    return " ".join(word.text for word in words)


def confidence_of(words: tuple[Word, ...]) -> float:
    """Return the mean confidence, 0..1; 0 where there are no words."""
    return sum(word.confidence for word in words) / len(words) if words else 0.0
