"""The native protocol over a real socket, the log in memory and a fake shard."""

from __future__ import annotations

from websockets.asyncio.client import connect

from tests.support.gateways import SECOND, START, hear, hear_all, running, say


async def test_a_call_gets_its_finals_and_a_normal_close() -> None:
    """The whole way of a word: socket, log, shard, log, socket."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        assert await hear(socket) == {
            "type": "ready",
            "call": "call-1",
            "labels": ["channel 0"],
            "model": "default",
            "version": 1,
        }
        for _ in range(5):
            await socket.send(SECOND[:4000])
        await say(socket, {"type": "close"})
        messages = await hear_all(socket)

        finals = [message for message in messages if message["type"] == "final"]
        assert [(final["number"], final["text"], final["reason"]) for final in finals] == [
            (0, "word0", "endpoint"),
            (1, "word1", "endpoint"),
            (2, "word2", "end"),
        ]
        assert [message for message in messages if message["type"] == "ack"][-1] == {"type": "ack", "audio_s": 2.5}
        assert messages[-1] == {
            "type": "closed",
            "call": "call-1",
            "reason": "hangup",
            "audio_s": 2.5,
            "padded_s": 0.0,
            "finals": 3,
        }
        assert socket.close_code == 1000
