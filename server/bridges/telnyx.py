"""Telnyx media streaming, ``/bridges/telnyx``.

Nothing is sent: Telnyx takes audio only, and what it does not know it reports as an error. Its messages may come out of
order, and its L16 is RTP's in some accounts and the machine's own in others.
"""

from __future__ import annotations

from server.auth import Keyring
from server.bridge import audio_format, bridge_routes, call_spec, scalars
from server.bridges.media_streams import ENCODINGS, MediaStreamDialect, one_channel
from server.bridges.tracks import TRACKS
from server.dialect import Upgrade
from server.json_frames import Fields, objects, section, string
from server.routes import Route
from server.settings import Telnyx
from streaming.call import CallSpec, Encoding

HINT = "set stream_codec to PCMU, PCMA or L16"


def routes(keyring: Keyring, chosen: Telnyx, idle_s: float) -> list[Route]:
    """Serve Telnyx to callers with a key, which ``stream_auth_token`` or the address carries.

    Args:
        keyring: Knows the keys.
        chosen: The settings.
        idle_s: Silence on the wire after which a call counts as gone, in seconds.
    """
    return bridge_routes("telnyx", keyring, lambda upgrade: TelnyxDialect(upgrade, chosen.l16_byte_order), idle_s)


class TelnyxDialect(MediaStreamDialect):
    """A media stream on one connection.

    Args:
        upgrade: The request behind the connection.
        l16_byte_order: ``little``, ``big``, or ``auto`` to find it out.
    """

    name = "telnyx"

    def __init__(self, upgrade: Upgrade, l16_byte_order: str = "auto") -> None:
        super().__init__(upgrade, reorders=True, finds_byte_order=l16_byte_order == "auto")
        self._encodings = dict(ENCODINGS)
        if l16_byte_order == "big":
            self._encodings |= dict.fromkeys(("l16", "audio/x-l16"), Encoding.L16BE)

    def begun(self, message: Fields) -> tuple[CallSpec, tuple[str, ...]]:
        """Read the message that starts the stream."""
        start = section(message, "start")
        media = section(start, "media_format")
        one_channel(media.get("channels"))
        encoding = string(media, "encoding") or "PCMU"
        audio = audio_format(self._encodings, encoding, media.get("sample_rate", 8000), len(TRACKS), hint=HINT)
        stream = string(message, "stream_id")
        spec = call_spec(
            self.upgrade,
            audio,
            TRACKS,
            call=stream,
            given=_custom(start),
            ids={
                "telnyx.stream_id": stream,
                **{
                    f"telnyx.{name}": string(start, name)
                    for name in ("call_control_id", "call_session_id", "from", "to", "client_state")
                },
            },
        )
        return spec, TRACKS


def _custom(start: Fields) -> dict[str, str]:
    """Read custom parameters, which the API takes as a list of names and values."""
    pairs = [scalars(pair) for pair in objects(start, "custom_parameters")]
    listed = {pair["name"]: pair.get("value", "") for pair in pairs if "name" in pair}
    return listed | scalars(section(start, "custom_parameters"))
