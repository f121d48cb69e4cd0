"""What bridges send in a call of half a second, byte for byte: for tests that play them and tests that break them."""

from __future__ import annotations

import json
import uuid
from typing import Final

from tests.support.bridges import Frame

JAMBONZ_START: Final = json.dumps(
    {
        "type": "start",
        "language": "en-US",
        "format": "raw",
        "encoding": "LINEAR16",
        "interimResults": True,
        "sampleRateHz": 8000,
        "options": {"hints": ["jambonz", "Trunkline"], "hintsBoost": 10, "callSid": "sid-1", "labels": "customer"},
    }
)
JAMBONZ: Final[list[Frame]] = [JAMBONZ_START, *[b"\x01\x00" * 400] * 10, '{"type":"stop"}']

LISTEN_METADATA: Final = json.dumps(
    {
        "callSid": "sid-2",
        "callId": "id-2",
        "direction": "inbound",
        "from": "+1",
        "to": "+2",
        "sampleRate": 16000,
        "mixType": "stereo",
        "language": "en",
    }
)
LISTEN: Final[list[Frame]] = [
    LISTEN_METADATA,
    *[b"\x01\x00\x02\x00" * 800] * 5,
    '{"event":"dtmf","dtmf":"2","duration":"1600"}',
    *[b"\x01\x00\x02\x00" * 800] * 5,
]
FORK: Final[list[Frame]] = ['{"queue":"support"}', *[b"\x01\x00" * 400] * 10, b""]
STREAM: Final[list[Frame]] = [b"\x01\x00" * 160] * 25

ASTERISK_PLAIN: Final = (
    "MEDIA_START connection_id:c0ffee channel:WebSocket/conn1/0x7f channel_id:1700000000.1 "
    "format:ulaw optimal_frame_size:160 ptime:20"
)
ASTERISK_JSON: Final = json.dumps(
    {
        "event": "MEDIA_START",
        "connection_id": "c0ffee-2",
        "channel": "WebSocket/conn1/0x7f",
        "channel_id": "1700000000.2",
        "format": "slin16",
        "optimal_frame_size": 640,
        "ptime": 20,
        "channel_variables": {"QUEUE": "support"},
    }
)
ASTERISK: Final[list[Frame]] = [
    ASTERISK_PLAIN,
    *[b"\xff" * 160] * 12,
    "DTMF_END digit:5 channel_id:1700000000.1",
    "MEDIA_XOFF channel_id:1700000000.1",
    *[b"\xff" * 160] * 13,
]

AUDIOSOCKET_UUID: Final = uuid.UUID("5f0c5d7e-0000-4000-8000-0123456789ab")


def audiosocket_frame(kind: int, payload: bytes = b"") -> bytes:
    """Return one frame of Asterisk's AudioSocket."""
    return bytes([kind]) + len(payload).to_bytes(2, "big") + payload


AUDIOSOCKET: Final[list[Frame]] = [
    audiosocket_frame(0x01, AUDIOSOCKET_UUID.bytes),
    *[audiosocket_frame(0x10, b"\x01\x00" * 160)] * 12,
    audiosocket_frame(0x03, b"7"),
    *[audiosocket_frame(0x10, b"\x01\x00" * 160)] * 13,
    audiosocket_frame(0x00),
]
