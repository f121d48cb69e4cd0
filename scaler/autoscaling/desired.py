"""How many shards there should be, read from the metrics of those who decide it."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from scaler.autoscaling.errors import BadAddress, NoAnswer

METRIC: Final = "trunkline_desired_shards"
"""Written by whoever coordinates; 0 says that a process has not decided, which is all that most can say."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""Longest answer that is read."""


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Where metrics are served, such as ``http://shards:8080/metrics``; a name may stand for many processes."""

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> MetricsAddress:
        """Read an address.

        Raises:
            BadAddress: If it is no address of plain HTTP: metrics do not leave the cluster's own network.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 80
        except ValueError as problem:
            raise BadAddress(f"{url}: {problem}") from problem
        if parts.scheme != "http" or not parts.hostname:
            raise BadAddress(f"{url}: write it as http://HOST:PORT/metrics")
        return cls(parts.hostname, port, parts.path or "/metrics")


class Source(Protocol):
    """Knows how many shards there should be."""

    async def read(self) -> int:
        """Return it.

        Raises:
            NoAnswer: If it is not known now.
        """
        ...


class DesiredShards:
    """Asks every process behind some addresses, and believes the highest number.

    Shards that do not lead say 0, and one that has just lost the lead may still say an old number: a shard too many for
    a moment costs less than one too few.

    Args:
        addresses: Where metrics are served; all addresses of a name are asked.
        timeout_s: Seconds a process has to answer.
    """

    def __init__(self, addresses: Sequence[MetricsAddress], timeout_s: float = 2.0) -> None:
        self._addresses = tuple(addresses)
        self._timeout_s = timeout_s

    async def read(self) -> int:
        """Return how many shards there should be.

        Raises:
            NoAnswer: If nobody answers, or nobody has decided.
        """
        answers = await asyncio.gather(
            *(asyncio.to_thread(self._ask_name, address) for address in self._addresses), return_exceptions=True
        )
        numbers = [number for answer in answers if isinstance(answer, list) for number in answer]
        if not any(numbers):
            problems = "; ".join(str(answer) for answer in answers if isinstance(answer, BaseException))
            raise NoAnswer(problems or f"all {len(numbers)} processes asked say that {METRIC} is not decided")
        return max(numbers)

    def _ask_name(self, address: MetricsAddress) -> list[int]:
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except OSError as problem:
            raise NoAnswer(f"{address.host} has no address: {problem.strerror}") from problem
        numbers: list[int] = []
        problems: list[str] = []
        for peer in dict.fromkeys(str(entry[4][0]) for entry in found):
            try:
                numbers.append(self._ask(peer, address))
            except (OSError, http.client.HTTPException, ValueError) as problem:
                problems.append(f"{peer}:{address.port}: {problem}")
        if not numbers:
            raise NoAnswer("; ".join(problems))
        return numbers

    def _ask(self, peer: str, address: MetricsAddress) -> int:
        connection = http.client.HTTPConnection(peer, address.port, timeout=self._timeout_s)
        try:
            connection.request("GET", address.path, headers={"Host": f"{address.host}:{address.port}"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise ValueError(f"answered with {answer.status}")
            return read_desired(answer.read(MOST_BYTES).decode())
        finally:
            connection.close()


def read_desired(exposition: str) -> int:
    """Return the number in a Prometheus text exposition, 0 if it has none.

    Raises:
        ValueError: If the text is no exposition.
    """
    for family in text_string_to_metric_families(exposition):
        if family.name == METRIC:
            return max((int(sample.value) for sample in family.samples), default=0)
    return 0
