"""The open utterance of a channel: which stretch of it to decode next, and where to cut it if it will not end.

Positions are samples at 16 kHz of the channel's media clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from streaming.call import SAMPLE_RATE
from streaming.endpoint import FRAME_SAMPLES
from streaming.ladder import Rung


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """How speech is cut into windows; all in seconds of audio."""

    first_partial_s: float = 0.3
    """Speech before the first partial."""
    cadence_s: float = 1.0
    """New audio between two partials."""
    wordless_s: float = 0.2
    """New audio between two partials as long as none had words, where partials are not slowed down."""
    pre_roll_s: float = 0.3
    """Audio before the first frame of speech that belongs to the window: onsets are quieter than the threshold."""
    post_roll_s: float = 0.2
    """Audio behind the last frame of speech that belongs to the window."""
    lead_s: float = 5.0
    """Most earlier speech that is given to a final's window along with its own: a fragment is understood better behind
    what led to it. Its words are not written again."""
    led_s: float = 8.0
    """Longest window with a lead: what is long by itself needs none."""
    lead_pause_s: float = 1.5
    """Pause behind which earlier speech is another matter and does not lead."""
    longest_s: float = 15.0
    """Length at which an utterance is cut at its quietest place, so that no window costs more than this."""
    cut_search_s: float = 6.0
    """How far back from there the quietest place is looked for; never beyond half of the utterance."""

    def at(self, rung: Rung) -> WindowSettings:
        """Return them as a rung of the ladder has them."""
        return replace(self, cadence_s=rung.cadence_s, lead_s=rung.lead_s, longest_s=rung.longest_s)

    def leadable_s(self, own_s: float) -> float:
        """Return the most earlier speech that may lead a window, by the seconds of its own audio."""
        return max(0.0, min(self.lead_s, min(self.led_s, self.longest_s) - own_s))


class Utterance:
    """Speech from its onset, or from the last cut, to where it was heard.

    Args:
        start: First sample of the windows.
        settings: Lengths.
        onset: Sample at which the speaker began, behind a pause; None where speech went on from what is final.
    """

    def __init__(self, start: int, settings: WindowSettings, onset: int | None = None) -> None:
        self.start = start
        self.onset = onset
        self.decoded_to = start
        """End of the newest window asked for."""
        self._settings = settings
        self._levels: list[float] = []  # mean square of each voice-activity frame, the last at _levels_end
        self._levels_end = start

    def heard(self, level: float, end: int) -> None:
        """Note how loud the next voice-activity frame is.

        Args:
            level: Its mean square.
            end: Sample behind it.
        """
        self._levels.append(level)
        self._levels_end = end

    def partial_is_due(self, end: int, cadence_s: float) -> bool:
        """Tell whether enough new audio came for another partial, if audio is there up to ``end``."""
        if self.decoded_to == self.start:
            pre_roll_s = self._settings.pre_roll_s
            return end - self.start >= (self._settings.first_partial_s + pre_roll_s) * SAMPLE_RATE
        return end - self.decoded_to >= cadence_s * SAMPLE_RATE

    def cut(self, longest_s: float) -> int | None:
        """Return where to cut if the utterance is too long: the middle of its quietest 160 ms in its second half."""
        if self._levels_end - self.start < longest_s * SAMPLE_RATE:
            return None
        span = int(min(self._settings.cut_search_s, longest_s / 2) * SAMPLE_RATE) // FRAME_SAMPLES
        smooth = np.convolve(self._levels[-span:], np.ones(5) / 5, mode="valid")
        frames_behind = smooth.size - 1 - int(np.argmin(smooth)) + 2
        return self._levels_end - frames_behind * FRAME_SAMPLES - FRAME_SAMPLES // 2

    def continued_from(self, cut: int) -> Utterance:
        """Return the utterance that goes on behind a cut."""
        rest = Utterance(cut, self._settings)
        behind = max(0, (self._levels_end - cut) // FRAME_SAMPLES)
        rest._levels = self._levels[len(self._levels) - behind :]
        rest._levels_end = self._levels_end
        return rest
