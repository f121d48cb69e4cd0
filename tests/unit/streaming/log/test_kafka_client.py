"""A producer of aiokafka is let go within seconds, whatever it waits for."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from streaming.log import kafka_client
from streaming.log.kafka_client import let_go
from streaming.log.kafka_types import Producer

pytest.importorskip("aiokafka")


class Client:
    """Has no connection to close."""

    async def close(self) -> None:
        """Close none."""


class Deaf:
    """A producer whose brokers never answer: what it sends is never done, and its sender waits for that first.

    Args:
        requests: That its sender waits for once it is told to end.
    """

    def __init__(self, requests: int) -> None:
        self.client = Client()
        self._sender = self
        self._requests = requests
        self.sender_task: asyncio.Task[None] | None = asyncio.create_task(self._send())
        self.stopped_while_sending: bool | None = None

    async def flush(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Note whether the sender is at it still."""
        assert self.sender_task is not None
        self.stopped_while_sending = not self.sender_task.done()

    async def _send(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for _ in range(self._requests):
                await asyncio.create_task(asyncio.Event().wait())


@pytest.mark.parametrize("requests", [0, 1])
async def test_a_producer_whose_brokers_are_away_ends(monkeypatch: pytest.MonkeyPatch, requests: int) -> None:
    """Its sender waits for the requests on their way, which may wait for metadata that never comes."""
    monkeypatch.setattr(kafka_client, "FLUSH_S", 0.01)
    monkeypatch.setattr(kafka_client, "ENDING_S", 0.01)
    producer = Deaf(requests)

    async with asyncio.timeout(5.0):
        await let_go(cast("Producer", producer))  # it has what is used here

    assert producer.stopped_while_sending is False
