"""A recorded call, played in real time through Twilio's framing and shown as it is understood, then judged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from trunkline.audio import Recording
from trunkline.bridge import play
from trunkline.framing import TwilioFraming
from trunkline.messages import Event
from trunkline.reference import Reference
from trunkline.screen import CallScreen
from trunkline.timing import Latencies, spread
from trunkline.transcript import Transcript
from trunkline.words import WordErrors, word_errors

MOST_ERRORS: Final = 0.15
"""Word error rate up to which a call counts as understood."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How well and how fast a call was understood."""

    errors: WordErrors
    latencies: Latencies
    audio_s: float
    """Length of the call, in seconds."""
    took_s: float
    """From its first audio to its last final, in seconds."""

    @property
    def understood(self) -> bool:
        """Whether the words are right, and there is a final for every turn."""
        return self.errors.rate <= MOST_ERRORS and self.latencies.turns > 0 and self.latencies.unfinished == 0


async def demonstrate(
    server: str, recording: Recording, reference: Reference, console: Console, key: str | None = None
) -> Outcome:
    """Play a call and show it.

    Args:
        server: Address of the server.
        recording: Both sides, mu-law at 8 kHz.
        reference: What they say.
        console: Where to show it.
        key: API key.

    Raises:
        TrunklineError: If the server does not take the call, or it breaks off.
        ValueError: If the recording is of another kind.
    """
    labels = reference.labels or tuple(f"channel {number}" for number in range(recording.audio.channels))
    transcript = Transcript()
    with CallScreen(console, labels) as screen:

        def hear(event: Event) -> None:
            transcript.add(event)
            screen.show(event)

        played = await play(
            TwilioFraming(recording.audio, labels, key),
            server,
            recording,
            turns=reference.turns,
            key=key,
            on_event=hear,
        )
    errors = WordErrors()
    for channel in range(recording.audio.channels):
        errors += word_errors(reference.text(channel), transcript.text(channel))
    return Outcome(errors, played.latencies, played.sent_s, played.took_s)


def summary(outcome: Outcome) -> Table:
    """Return how it went, as a table."""
    final, first = spread(outcome.latencies.final_s), spread(outcome.latencies.first_partial_s)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (
        ("word error rate", f"{outcome.errors.rate:.1%} ({outcome.errors.errors} of {outcome.errors.words} words)"),
        ("turns with finals", f"{outcome.latencies.turns - outcome.latencies.unfinished} of {outcome.latencies.turns}"),
        ("end of speech to final", f"p50 {seconds(final.p50)}, p95 {seconds(final.p95)}"),
        ("first partial", f"p95 {seconds(first.p95)}"),
        ("real-time factor", f"{outcome.took_s / max(outcome.audio_s, 1e-9):.2f}"),
        (
            "understood",
            "yes" if outcome.understood else f"no (at most {MOST_ERRORS:.0%} errors, a final for each turn)",
        ),
    ):
        table.add_row(name, value)
    return table


def seconds(value: float) -> str:
    """Write a duration; nothing measured is a dash."""
    return "-" if math.isnan(value) else f"{value:.2f} s"
