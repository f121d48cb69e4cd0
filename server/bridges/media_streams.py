"""Protocols whose frames are JSON with base64 audio, one message a track, after Twilio's example."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from server.bridge import BridgeDialect, Stage
from server.bridges.tracks import ByteOrder, Chunk, Reorderer, Tracks, chunk_of
from server.dialect import Action, Audio, Upgrade
from server.json_frames import Fields, section, string
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.errors import BadMessage

ENCODINGS: Final = {
    "pcmu": Encoding.MULAW,
    "audio/x-mulaw": Encoding.MULAW,
    "pcma": Encoding.ALAW,
    "audio/x-alaw": Encoding.ALAW,
    "l16": Encoding.L16,
    "audio/x-l16": Encoding.L16,
}
"""What these protocols call the encodings we have."""


class MediaStreamDialect(BridgeDialect):
    """A media stream on one connection; a subclass reads its ``start``.

    Args:
        upgrade: The request behind the connection.
        reorders: Whether chunks may come out of order.
        finds_byte_order: Whether 16-bit samples may be big-endian without saying so.
    """

    def __init__(self, upgrade: Upgrade, *, reorders: bool = False, finds_byte_order: bool = False) -> None:
        super().__init__(upgrade)
        self._tracks = Tracks((), 8000)
        self._reorderer = Reorderer() if reorders else None
        self._finds_byte_order = finds_byte_order
        self._byte_order: ByteOrder | None = None

    @abstractmethod
    def begun(self, message: Fields) -> tuple[CallSpec, tuple[str, ...]]:
        """Read the message that starts the stream: the call, and its tracks in the order of its channels."""

    def act(self, fields: Fields) -> list[Action]:
        """Act on a JSON text frame; what is not listed here is of no use to a listener."""
        match fields.get("event"):
            case "media":
                return self._media(fields)
            case "start" if self.stage is Stage.NEW and self.spec is None:
                spec, tracks = self.begun(fields)
                self._tracks = Tracks(tracks, spec.audio.rate)
                if self._finds_byte_order and spec.audio.encoding is Encoding.L16:
                    self._byte_order = ByteOrder(spec.audio.rate)
                return self.open(spec)
            case "dtmf":
                return self._dtmf(section(fields, "dtmf"))
            case "stop":
                return self.finish()
            case _:
                return []

    def _media(self, fields: Fields) -> list[Action]:
        spec = self.spec
        if spec is None:
            raise BadMessage("audio_before_start", "media came before start")
        chunk = chunk_of(section(fields, "media"), spec.audio)
        if self._tracks.channel_of(chunk.track) is None:
            return []
        ready = [chunk] if self._reorderer is None else self._reorderer.push(chunk)
        return [*self._placed(ready, spec.audio)]

    def _placed(self, chunks: list[Chunk], audio: AudioFormat) -> list[Audio]:
        placed = [one for chunk in chunks for one in self._tracks.place(chunk, audio.encoding.sample_bytes)]
        order = self._byte_order
        return placed if order is None else [turned for one in placed for turned in order.push(one)]

    def held(self) -> list[Action]:
        """Give out what waits for a missing chunk, or for the byte order to be known."""
        if self.spec is None:  # pragma: no cover - nothing is held before the call
            return []
        late = [] if self._reorderer is None else self._placed(self._reorderer.flush(), self.spec.audio)
        return [*late, *(self._byte_order.flush() if self._byte_order is not None else [])]

    def _dtmf(self, dtmf: Fields) -> list[Action]:
        track = (string(dtmf, "track") or "").removesuffix("_track")
        return self.pressed(dtmf.get("digit"), self._tracks.channel_of(track) or 0)


def one_channel(channels: object) -> None:
    """Check that each message holds one track.

    Raises:
        BadMessage: If it says that it holds more.
    """
    if channels not in (None, 1, "1"):
        raise BadMessage("bad_channels", "each media message must hold one channel of one track")
