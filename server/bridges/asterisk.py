"""Asterisk's chan_websocket, ``/bridges/asterisk``: raw frames of the channel's codec, text frames as control.

Nothing is ever sent: Asterisk takes only its own commands as text, and a close of ours hangs up the channel.
"""

from __future__ import annotations

from typing import Final

from server.bridge import BridgeDialect, Stage, audio_format, call_spec, scalars
from server.dialect import Action
from server.json_frames import Fields, json_object, section, string
from streaming.call import CallSpec, Encoding
from streaming.errors import BadMessage

SUBPROTOCOLS: Final = ("media", "ari")
"""What websocket_client.conf may say under ``protocols``."""

RATES: Final = {
    "ulaw": 8000,
    "alaw": 8000,
    "slin": 8000,
    "slin16": 16000,
    "slin24": 24000,
    "slin44": 44100,
    "slin48": 48000,
}
"""Asterisk's formats we have; slin is the machine's own order, little-endian on all that matter."""

_CODECS: Final = {"ulaw": Encoding.MULAW, "alaw": Encoding.ALAW}
_MANY_WORDS: Final = 16


class AsteriskDialect(BridgeDialect):
    """One channel on one connection; for both sides of a call join two, with ``v(call=ID,channel=0,of=2)``."""

    name = "asterisk"
    hangs_up_by_closing = True

    def text(self, message: str) -> list[Action]:
        """Act on an event, in either of Asterisk's two spellings; those of no use to a listener are left out."""
        fields = json_object(message)
        return self.act(fields if fields is not None else _plain(message))

    def act(self, fields: Fields) -> list[Action]:
        """Act on an event."""
        match fields.get("event"):
            case "MEDIA_START" if self.stage is Stage.NEW and self.spec is None:
                return self.open(self._spec_of(fields))
            case "DTMF_END":
                return self.pressed(fields.get("digit"))
            case _:
                return []

    def binary(self, payload: bytes) -> list[Action]:
        """Act on samples."""
        return self.interleaved(payload)

    def _spec_of(self, start: Fields) -> CallSpec:
        name = string(start, "format") or ""
        if name not in RATES:
            raise BadMessage("unknown_encoding", f"dial with c(FORMAT), where FORMAT is one of {', '.join(RATES)}")
        audio = audio_format({name: _CODECS.get(name, Encoding.L16)}, name, RATES[name])
        own = string(start, "connection_id")
        return call_spec(
            self.upgrade,
            audio,
            ("caller",),
            call=own,
            given=scalars(section(start, "channel_variables")),
            ids={
                "asterisk.connection_id": own,
                "asterisk.channel": string(start, "channel"),
                "asterisk.channel_id": string(start, "channel_id"),
            },
        )


def _plain(message: str) -> Fields:
    """Read ``EVENT name:value name:value``."""
    event, *words = message.split()[:_MANY_WORDS] or [""]
    pairs = [word.partition(":") for word in words]
    return {name: value for name, colon, value in pairs if colon} | {"event": event}
