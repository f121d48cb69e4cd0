"""The addresses of all telephony bridges but Twilio's."""

from __future__ import annotations

from server import plivo, telnyx, vonage
from server.auth import Keyring
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
    ]
