"""Asterisk's AudioSocket: TCP, three bytes of header a frame, and no word about who calls but a UUID.

The dialect takes whole frames, header and all. Nothing is sent: a listener need not, and a hangup frame would end the
call.
"""

from __future__ import annotations

import uuid
from typing import Final

from server.bridge import BridgeDialect, call_spec
from server.dialect import Action, Upgrade
from streaming.call import AudioFormat, Encoding
from streaming.errors import BadMessage

HEADER_BYTES: Final = 3
UUID_BYTES: Final = 16

HANGUP: Final = 0x00
CALL_ID: Final = 0x01
DTMF: Final = 0x03
AUDIO: Final = {0x10: 8000, 0x12: 16000, 0x13: 24000, 0x15: 44100, 0x16: 48000}
"""Kinds of frames whose rate we have, in Hz; samples are 16-bit little-endian."""
AUDIO_WE_LACK: Final = frozenset({0x11, 0x14, 0x17, 0x18})
"""12, 32, 96 and 192 kHz."""


class AudioSocketDialect(BridgeDialect):
    """One channel on one connection; its first samples say the rate."""

    name = "audiosocket"
    hangs_up_by_closing = True

    def __init__(self, upgrade: Upgrade) -> None:
        super().__init__(upgrade)
        self._call: str | None = None
        self._kind: int | None = None

    def binary(self, payload: bytes) -> list[Action]:
        """Act on one frame."""
        if len(payload) < HEADER_BYTES:
            return []
        kind, body = payload[0], payload[HEADER_BYTES:]
        if kind in AUDIO:
            return self._audio(kind, body)
        if kind in AUDIO_WE_LACK:
            raise BadMessage("unknown_sample_rate", "dial with c(slin), c(slin16), c(slin24), c(slin44) or c(slin48)")
        if kind == HANGUP:
            return self.finish()
        if kind == DTMF:
            return self.pressed(body.decode("latin-1"))
        if kind == CALL_ID and len(body) == UUID_BYTES:
            self._call = str(uuid.UUID(bytes=body))
        return []

    def _audio(self, kind: int, samples: bytes) -> list[Action]:
        if self._kind is None:
            self._kind = kind
            audio = AudioFormat(Encoding.L16, AUDIO[kind])
            ids = {"audiosocket.uuid": self._call}
            begin = self.open(call_spec(self.upgrade, audio, ("caller",), call=self._call, given={}, ids=ids))
            return [*begin, *self.interleaved(samples)]
        if kind != self._kind:
            raise BadMessage("bad_audio", "the sample rate changed within the call")
        return self.interleaved(samples)
