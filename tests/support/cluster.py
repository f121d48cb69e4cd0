"""A cluster in real processes on a real broker: gateways, shards, and hands to kill and replace them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.support.kafka_broker import KafkaCluster, KafkaMissing
from tests.support.ports import free_port
from tests.support.servers import SCRIPTED, ServerProcess, launch, until

READY_S: Final = 90.0
"""Seconds until a process must be ready; they start side by side on a busy machine."""
SLOTS: Final = 8


class Cluster:
    """Gateways and shards on one log.

    Args:
        bootstrap: Brokers.
        folder: Where logs go.
        prefix: Of the topics.
        slots: Of the log.
        flags: Further settings of every process.
    """

    def __init__(
        self,
        bootstrap: str,
        folder: Path,
        *,
        prefix: str = "trunkline",
        slots: int = SLOTS,
        flags: tuple[str, ...] = (),
    ) -> None:
        self.gateways: dict[str, ServerProcess] = {}
        self.shards: dict[str, ServerProcess] = {}
        self.prefix = prefix
        self.program: tuple[str, ...] = (sys.executable, "-m", "server")
        """What is run for each process that is started from now on."""
        self._shard_numbers = count()
        self._gateway_numbers = count()
        self._folder = folder
        self._flags = (*SCRIPTED, *flags)
        self._environment: Mapping[str, str] = {
            "TRUNKLINE_KAFKA__BOOTSTRAP": bootstrap,
            "TRUNKLINE_KAFKA__PREFIX": prefix,
            "TRUNKLINE_KAFKA__SLOTS": str(slots),
        }

    def start(self, *, gateways: int = 1, shards: int = 2) -> None:
        """Start what is missing of so many gateways and shards, and wait until all are ready."""
        self.gateways, self.shards = _running(self.gateways), _running(self.shards)
        more = shards - len(self.shards), gateways - len(self.gateways)
        missing = [self.start_shard(f"shard-{next(self._shard_numbers)}") for _ in range(more[0])]
        missing += [self.start_gateway(f"gateway-{next(self._gateway_numbers)}") for _ in range(more[1])]
        for each in missing:
            self.await_ready(each)

    def set(self, name: str, value: str) -> None:
        """Set something for every process that is started from now on."""
        self._flags = (*self._flags, "--set", f"{name}={value}")

    def add_flags(self, *flags: str) -> None:
        """Give every process that is started from now on these, too."""
        self._flags = (*self._flags, *flags)

    def start_shard(self, name: str, *flags: str) -> ServerProcess:
        """Start a shard; it may not be ready yet."""
        self.shards[name] = shard = self._start("shard", name, "--set", f"shard.name={name}", *flags)
        return shard

    def start_gateway(self, name: str, *flags: str) -> ServerProcess:
        """Start a gateway; it may not be ready yet."""
        self.gateways[name] = gateway = self._start("gateway", name, *flags)
        return gateway

    def await_ready(self, process: ServerProcess) -> float:
        """Wait until a process is ready, and return how long that took in seconds."""
        return until(
            lambda: process.is_ready, READY_S, f"a process to be ready; its log: {process.log}", process.process
        )

    def stop(self) -> None:
        """End every process, as a power cut would."""
        for each in (*self.gateways.values(), *self.shards.values()):
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGCONT)
                each.process.kill()
            each.process.wait()

    def _start(self, role: str, name: str, *flags: str) -> ServerProcess:
        port = free_port()
        command = [
            *self.program,
            role,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            *self._flags,
            *flags,
        ]
        return launch(command, port, self._folder / f"{name}-{port}.log", self._environment)


def _running(processes: Mapping[str, ServerProcess]) -> dict[str, ServerProcess]:
    return {name: each for name, each in processes.items() if each.process.poll() is None}


def start_broker(brokers: int = 1, settings: Mapping[str, str] | None = None) -> KafkaCluster:
    """Start brokers, or skip where there can be none."""
    try:
        return KafkaCluster(brokers, settings=settings)
    except KafkaMissing as problem:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(problem))


@contextmanager
def cluster_on(bootstrap: str, folder: Path, *, prefix: str, slots: int = SLOTS) -> Generator[Cluster]:
    """A cluster for the length of the context, with nothing started yet."""
    cluster = Cluster(bootstrap, folder, prefix=prefix, slots=slots)
    try:
        yield cluster
    finally:
        cluster.stop()
