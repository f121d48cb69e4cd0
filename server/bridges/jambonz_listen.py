"""jambonz' ``listen`` verb, ``/bridges/jambonz-listen``: the call's facts as one text frame, then raw samples.

Under it works mod_audio_fork, whose words are understood here too.
"""

from __future__ import annotations

from typing import Final

from server.bridge import Stage, Transcripts
from server.bridges.freeswitch import ForkDialect
from server.bridges.jambonz import of_this_connection
from server.dialect import Action, Upgrade
from server.json_frames import Fields, string
from streaming.errors import BadMessage

SUBPROTOCOL: Final = "audio.jambonz.org"

_IDS: Final = ("callSid", "callId", "accountSid", "applicationSid")


class ListenDialect(ForkDialect):
    """One ``listen`` on one connection.

    Args:
        upgrade: The request behind the connection.
        transcripts: What of the text goes back; jambonz itself has no use for it.
    """

    name = "jambonz_listen"

    def __init__(self, upgrade: Upgrade, transcripts: Transcripts = Transcripts.NONE) -> None:
        super().__init__(upgrade, transcripts)

    def binary(self, payload: bytes) -> list[Action]:
        """Act on samples, which never come first."""
        if self.spec is None and self.stage is Stage.NEW:
            raise BadMessage("audio_before_start", "audio came before the message that says what it is")
        return super().binary(payload)

    def call_of(self, metadata: Fields) -> tuple[str | None, dict[str, str | None]]:
        """Return jambonz' ids; a call may be listened to several times."""
        call = of_this_connection(string(metadata, "callSid"), self.upgrade.request_id)
        return call, {f"jambonz.{name}": string(metadata, name) for name in _IDS}
