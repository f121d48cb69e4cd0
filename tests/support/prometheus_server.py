"""The official Prometheus in a process of its own, scraping what a test names."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.ports import free_port
from tests.support.servers import until

START_S = 30.0
STOP_S = 20.0


def unavailable() -> str | None:
    """Say why Prometheus cannot be started here, or None if it can."""
    if shutil.which("prometheus") is None:
        return "no Prometheus: install it (Debian: prometheus) to test scraping and alerts against it"
    return None


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    url: str

    def api(self, path: str, **parameters: str) -> Any:
        """Ask it, and return its data."""
        with httpx.Client(trust_env=False) as client:
            answer = client.get(f"{self.url}/api/v1/{path}", params=parameters).raise_for_status().json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def value(self, query: str) -> float | None:
        """Return the first value of a query, or None if it has none."""
        found = self.api("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def targets(self) -> dict[str, str]:
        """Return the health of each address it scrapes."""
        return {each["labels"]["instance"]: each["health"] for each in self.api("targets")["activeTargets"]}


@contextmanager
def scraping(configuration: Mapping[str, object], folder: Path) -> Generator[Prometheus]:
    """Run Prometheus while the context lasts.

    Args:
        configuration: What its file says.
        folder: Where it may write.
    """
    port = free_port()
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(dict(configuration)), "utf-8")
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)  # noqa: S603 - official
    found = Prometheus(f"http://127.0.0.1:{port}")
    try:
        until(lambda: _ready(found), START_S, "Prometheus to start", process)
        yield found
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        process.kill()
        process.wait()


def _ready(prometheus: Prometheus) -> bool:
    with suppress(httpx.TransportError), httpx.Client(trust_env=False) as client:
        return client.get(f"{prometheus.url}/-/ready").is_success
    return False
