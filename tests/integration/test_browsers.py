"""Browsers, which can set no header: their keys come among the subprotocols, and one of these must be echoed."""

from __future__ import annotations

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.support.gateways import running, settings


@pytest.mark.parametrize(
    ("path", "offered", "echoed"),
    [
        ("/v1/listen?encoding=mulaw&sample_rate=8000", ["token", "KEY"], "token"),
        ("/v1/listen?encoding=mulaw&sample_rate=8000", ["bearer", "KEY", "x-deepgram-session-id", "u"], "bearer"),
        ("/v1/realtime", ["realtime", "openai-insecure-api-key.KEY", "openai-beta.realtime-v1"], "realtime"),
        ("/v3/ws?sample_rate=16000&token=KEY", [], None),
        ("/v2?jwt=KEY", [], None),
        ("/?token=KEY", [], None),
    ],
)
async def test_a_browsers_key_is_found_and_never_echoed(path: str, offered: list[str], echoed: str | None) -> None:
    """Whatever is echoed lands in logs."""
    async with running(settings(auth__keys='{acme = ["good"]}')) as served:
        for key in ("good", "bad"):
            names = [Subprotocol(name.replace("KEY", key)) for name in offered]
            opening = connect(served.url(path.replace("KEY", key)), subprotocols=names or None)
            if key == "good":
                async with opening as socket:
                    assert socket.subprotocol == echoed
                continue
            with pytest.raises(InvalidStatus) as refused:
                await opening
            assert refused.value.response.status_code == 401
