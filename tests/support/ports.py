"""Ports for processes that tests start and that listen a while later."""

from __future__ import annotations

import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"
PORTS: Final = range(20_000, 32_000)
"""Below those that systems give to connections, and to whoever asks for any: nobody gets one of these by chance between
its choice and its use, nor while the process that listened there is dead and somebody keeps trying to connect."""

_dice: Final = random.SystemRandom()  # pytest seeds the other one anew for each test
_given: Final = set[int]()


def free_port() -> int:
    """Return a port on loopback that nobody has and that was not returned before."""
    while True:
        port = _dice.choice(PORTS)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def free_ports(count: int) -> list[int]:
    """Return so many."""
    return [free_port() for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
