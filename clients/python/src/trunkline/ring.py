"""Audio that the server has not acknowledged: kept so that it can be sent again, and bounded."""

from __future__ import annotations

from trunkline.messages import Audio


class Ring:
    """The newest part of everything that was sent, by its place in the call.

    Args:
        audio: What the audio is.
        longest_s: Most audio that is kept, in seconds.
    """

    def __init__(self, audio: Audio, longest_s: float) -> None:
        self._audio = audio
        self._longest = round(longest_s * audio.sample_rate) * audio.frame_bytes
        self._kept = bytearray()
        self.start = 0
        """Place of the first byte kept, from the call's beginning."""

    @property
    def second_bytes(self) -> int:
        """Bytes of one second."""
        return self._audio.second_bytes

    @property
    def end(self) -> int:
        """Place behind the last byte."""
        return self.start + len(self._kept)

    @property
    def room(self) -> int:
        """Bytes that can be added."""
        return max(0, self._longest - len(self._kept))

    def append(self, audio: bytes) -> None:
        """Add audio at the end."""
        self._kept += audio

    def read(self, start: int, end: int) -> bytes:
        """Return what is between two places, both of them kept."""
        return bytes(self._kept[start - self.start : end - self.start])

    def acknowledge(self, audio_s: float) -> None:
        """Let go of what the server has; times on the wire are rounded to milliseconds, so one of them is kept."""
        self.release(max(0, int((audio_s - 0.001) * self._audio.sample_rate)) * self._audio.frame_bytes)

    def release(self, before: int) -> None:
        """Let go of everything before a place."""
        gone = min(max(0, before - self.start), len(self._kept))
        del self._kept[:gone]
        self.start += gone

    def rewind(self, place: int) -> int:
        """Make audio readable from a place on; what is not kept any more becomes silence.

        Returns:
            Bytes that became silence.
        """
        missing = max(0, self.start - place)
        if missing:
            self._kept[:0] = silence(missing, self._audio)
            self.start = place
        return missing


def silence(n_bytes: int, audio: Audio) -> bytes:
    """Return so many bytes of silence."""
    return {"mulaw": b"\xff", "alaw": b"\xd5"}.get(audio.encoding, b"\0") * n_bytes
