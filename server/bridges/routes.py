"""The addresses of all telephony bridges but Twilio's."""

from __future__ import annotations

from server.auth import Keyring
from server.bridge import Transcripts, bridge_routes
from server.bridges import audiohook, freeswitch, generic, jambonz_listen, plivo, telnyx, vonage
from server.bridges.asterisk import SUBPROTOCOLS, AsteriskDialect
from server.bridges.freeswitch import ForkDialect, StreamDialect
from server.bridges.jambonz import JambonzDialect
from server.bridges.jambonz_listen import ListenDialect
from server.routes import Route
from server.settings import Settings


def routes(keyring: Keyring, settings: Settings) -> list[Route]:
    """Serve every bridge under ``/bridges``.

    Args:
        keyring: Knows the keys.
        settings: All of them.

    Raises:
        BadSetting: If a bridge's settings contradict each other.
    """
    idle_s = settings.limits.idle_s
    return [
        *telnyx.routes(keyring, settings.telnyx, idle_s),
        *plivo.routes(keyring, settings.plivo, idle_s),
        *vonage.routes(keyring, settings.vonage, idle_s),
        *bridge_routes("jambonz", keyring, JambonzDialect, idle_s),
        *bridge_routes(
            "jambonz-listen",
            keyring,
            freeswitch.builder(ListenDialect, Transcripts.NONE),
            idle_s,
            (jambonz_listen.SUBPROTOCOL,),
        ),
        *bridge_routes(
            "audio-fork",
            keyring,
            freeswitch.builder(ForkDialect, Transcripts.FINALS),
            idle_s,
            ("audio.drachtio.org", jambonz_listen.SUBPROTOCOL),
        ),
        *bridge_routes("audio-stream", keyring, freeswitch.builder(StreamDialect, Transcripts.FINALS), idle_s),
        *bridge_routes("asterisk", keyring, AsteriskDialect, idle_s, SUBPROTOCOLS),
        *audiohook.routes(keyring, settings.audiohook, idle_s),
        *bridge_routes("generic", keyring, generic.build, idle_s),
    ]
