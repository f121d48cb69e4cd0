"""A real Apache Kafka for tests: one or more KRaft brokers on loopback, from jars that Maven collects by name.

The jars are kept under ``build/kafka/<version>`` and checked against the sums beside ``pom.xml``. By hand:

    python -m tests.support.kafka_broker --brokers 3 --version 4.1.0
"""

from __future__ import annotations

import argparse
import atexit
import ctypes
import hashlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from tests.support.ports import HOST, free_ports

VERSIONS: Final = ("3.9.1", "4.1.0")
"""What the tests know the jars of: the last 3.x line, which many clusters run, and 4.x."""

REPOSITORY: Final = Path(__file__).resolve().parents[2]
RECIPE: Final = Path(__file__).with_name("kafka")
CLUSTER_ID: Final = "dHJ1bmtsaW5lLXRlc3RzIQ"

START_TIMEOUT_S: Final = 60.0

PR_SET_PDEATHSIG: Final = 1
"""Number of the request in Linux's interface."""
JVM: Final = ("-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
"""Small and soon up: a test broker compiles little and collects rarely."""
SERVING_JVM: Final = ("-Xms512m", "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:-UsePerfData")
"""As a broker that serves is run, but small: for benches."""

LOG_LEVEL: Final = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"

SETTINGS: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    # A broker that was killed is given up after this long, so that a test sees a new leader in seconds.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
}


class KafkaMissing(Exception):
    """No broker can be had on this machine; the message says what is missing."""


def unavailable() -> str | None:
    """Say why no broker can be started here, or None if one can."""
    if shutil.which("java") is None:
        return "no Java: install a Java 17 runtime (Debian: openjdk-17-jre-headless) to test against a real Kafka"
    collected = all((_home(version) / ".complete").exists() for version in VERSIONS)
    if not collected and shutil.which("mvn") is None:
        return "no Maven to collect Kafka's jars with: install it (Debian: maven) to test against a real Kafka"
    return None


def jars(version: str) -> Path:
    """Return the folder with the jars of a Kafka version, collected on the first call.

    Raises:
        KafkaMissing: If they cannot be collected, or are not what they were when the sums were written.
    """
    home = _home(version)
    if (home / ".complete").exists():
        return home
    shutil.rmtree(home, ignore_errors=True)
    command = [
        "mvn",
        *("--batch-mode", "--quiet", "--strict-checksums", "--file", str(RECIPE / "pom.xml")),
        "dependency:copy-dependencies",
        *(f"-DoutputDirectory={home}", "-DincludeScope=runtime", f"-Dkafka.version={version}"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603  no shell
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise KafkaMissing(f"Maven could not collect Kafka {version}: {problem}") from problem
    if done.returncode:
        raise KafkaMissing(f"Maven could not collect Kafka {version}: {(done.stdout + done.stderr)[-2000:]}")
    _check_sums(home, version)
    (home / ".complete").touch()
    return home


def _home(version: str) -> Path:
    return REPOSITORY / "build" / "kafka" / version


def _check_sums(home: Path, version: str) -> None:
    wanted = (RECIPE / f"{version}.sha256").read_text().splitlines()
    found = [f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}" for jar in sorted(home.glob("*.jar"))]
    if found != wanted:
        odd = sorted({line.split()[1] for line in set(found) ^ set(wanted)})
        raise KafkaMissing(f"the jars of Kafka {version} are not the ones that were checked in: {', '.join(odd)}")


class KafkaCluster:
    """Brokers in processes of their own, with their data in a folder that goes when they stop.

    Args:
        brokers: How many; each is also a controller.
        version: One of ``VERSIONS``.
        settings: Broker settings over the usual ones.
        jvm: Flags of the Java machine.

    Raises:
        KafkaMissing: If this machine cannot run a broker.
    """

    def __init__(
        self,
        brokers: int = 1,
        version: str = VERSIONS[0],
        settings: Mapping[str, str] | None = None,
        *,
        jvm: Sequence[str] = JVM,
    ) -> None:
        reason = unavailable()
        if reason is not None:
            raise KafkaMissing(reason)
        self._jars = jars(version)
        self._jvm = jvm
        self._folder = Path(tempfile.mkdtemp(prefix="trunkline-kafka-"))
        self._ports = free_ports(2 * brokers)
        self._count = brokers
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        atexit.register(self.stop)
        for node in range(brokers):
            self._write_settings(node, settings or {})
        self._format()
        for node in range(brokers):
            self._spawn(node)
        for node in range(brokers):
            self._await_ready(node)

    @property
    def bootstrap(self) -> str:
        """Addresses of all brokers, as clients take them."""
        return ",".join(f"{HOST}:{port}" for port in self._ports[: self._count])

    def send_signal(self, node: int, what: signal.Signals) -> None:
        """Send a broker a signal, such as SIGSTOP."""
        self._processes[node].send_signal(what)

    def fill_disk(self, node: int) -> None:
        """Let no file of a broker grow any more: its writes fail as they do where a disk is full. Linux only.

        A broker whose only folder fails ends by itself; ``start`` starts it with a disk that has room again.
        """
        nothing = (0, resource.RLIM_INFINITY)
        resource.prlimit(self._processes[node].pid, resource.RLIMIT_FSIZE, nothing)

    def await_end(self, node: int, limit_s: float) -> None:
        """Wait until a broker has ended by itself.

        Raises:
            subprocess.TimeoutExpired: If it has not.
        """
        self._processes.pop(node).wait(limit_s)

    def kill(self, node: int) -> None:
        """End a broker at once, as a power cut would."""
        self._end(node, signal.SIGKILL)

    def shut_down(self, node: int) -> None:
        """Ask a broker to leave in order, and wait until it has."""
        self._end(node, signal.SIGTERM)

    def start(self, node: int) -> None:
        """Start a broker that was ended, with the data it had, and wait until it serves."""
        self._spawn(node)
        self._await_ready(node)

    def stop(self) -> None:
        """End all brokers and remove their data; again is no harm."""
        for node in list(self._processes):
            self.kill(node)
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def _write_settings(self, node: int, settings: Mapping[str, str]) -> None:
        port, controllers = self._ports[node], self._ports[self._count :]
        copies = str(min(3, self._count))
        lines = {
            **SETTINGS,
            "node.id": str(node),
            "controller.quorum.voters": ",".join(f"{voter}@{HOST}:{at}" for voter, at in enumerate(controllers)),
            "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controllers[node]}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
            "log.dirs": str(self._folder / f"data-{node}"),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": "1",
            **settings,
        }
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        self._settings(node).write_text(text)

    def _settings(self, node: int) -> Path:
        return self._folder / f"broker-{node}.properties"

    def _output(self, node: int) -> Path:
        return self._folder / f"broker-{node}.out"

    def _java(self, main: str, *arguments: str) -> list[str]:
        return [shutil.which("java") or "java", *self._jvm, LOG_LEVEL, "-cp", f"{self._jars}/*", main, *arguments]

    def _format(self) -> None:
        with ExitStack() as running:
            made = [
                running.enter_context(
                    subprocess.Popen(  # noqa: S603  no shell
                        self._java(
                            "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._settings(node))
                        ),
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                    )
                )
                for node in range(self._count)
            ]
            for process in made:
                told, _ = process.communicate(timeout=START_TIMEOUT_S)
                if process.returncode:
                    raise KafkaMissing(f"Kafka's storage could not be formatted: {told.decode()[-2000:]}")

    def _spawn(self, node: int) -> None:
        with self._output(node).open("ab") as output:
            self._processes[node] = subprocess.Popen(  # noqa: S603  no shell
                self._java("kafka.Kafka", str(self._settings(node))),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt at the terminal is for the tests; they end the brokers
                # For the system a parent is a thread, and those of an event loop's pool go before the tests do.
                preexec_fn=end_with_parent if _on_main_thread() else None,  # noqa: PLW1509  it takes no lock
            )

    def _await_ready(self, node: int) -> None:
        give_up = time.monotonic() + START_TIMEOUT_S
        while not answers(self._ports[node]):
            ended = self._processes[node].poll()
            if ended is not None or time.monotonic() > give_up:
                told = self._output(node).read_text()[-2000:]
                raise KafkaMissing(f"broker {node} did not come up (exit status {ended}): {told}")
            time.sleep(0.05)

    def _end(self, node: int, how: signal.Signals) -> None:
        process = self._processes.pop(node)
        with suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def end_with_parent() -> None:
    """Have the system end this process when the one that started it is gone, however it went. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def answers(port: int) -> bool:
    """Tell whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run brokers until interrupted; the first line printed is their address."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--version", choices=VERSIONS, default=VERSIONS[0])
    parser.add_argument("--collect", action="store_true", help="only collect the jars of all versions")
    chosen = parser.parse_args(arguments)
    if chosen.collect:
        for version in VERSIONS:
            jars(version)
        return
    cluster = KafkaCluster(chosen.brokers, chosen.version)
    sys.stdout.write(f"{cluster.bootstrap}\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        cluster.stop()


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    main()
