"""The compose file: fits the specification's schema, and names what there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final, cast

import jsonschema
import pytest
import yaml

from server.settings import Settings, load
from tests.support.go_tools import COMPOSE, ToolMissing, module
from tests.support.kafka_broker import VERSIONS
from tests.support.ports import free_port
from tests.support.servers import ROOT, until

FOLDER: Final = ROOT / "deploy" / "compose"


@pytest.fixture
def composition() -> Any:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))


def plain(value: object) -> str:
    """Return what compose makes of a value where nobody sets its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


def settings_of(service: Any, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return what a process reads from a service's environment."""
    with monkeypatch.context() as environment:
        for name, value in cast("dict[str, str]", service["environment"]).items():
            environment.setenv(name, plain(value))
        return load()


def test_it_fits_the_schema_of_the_specification(composition: Any) -> None:
    """The very file that compose itself checks with."""
    try:
        schema = json.loads((module(COMPOSE) / "schema" / "compose-spec.json").read_text("utf-8"))
    except ToolMissing as missing:
        pytest.skip(str(missing))

    validator = jsonschema.Draft7Validator(schema)
    validator.validate(composition)  # pyright: ignore[reportUnknownMemberType] - a library's stub


def test_it_has_all_that_a_cluster_needs(composition: Any) -> None:
    """Two of each, so that one of each may be killed."""
    services = set(composition["services"])

    assert {"kafka", "gateway-1", "gateway-2", "shard-1", "shard-2", "prometheus", "grafana"} <= services


@pytest.mark.parametrize("name", ["gateway-1", "gateway-2", "shard-1", "shard-2"])
def test_processes_read_their_environment(
    name: str,
    composition: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A variable that nobody knows, or a value that cannot be, ends a process at its start."""
    service = composition["services"][name]
    settings = settings_of(service, monkeypatch)

    assert settings.kafka.bootstrap == "kafka:9092"
    assert service["command"][0] == name.partition("-")[0]
    if name.startswith("gateway"):
        assert list(settings.auth.keys) == ["demo"]
    else:
        assert settings.devices.names == ("cpu",)


def test_the_kafka_is_one_that_is_tested(composition: Any) -> None:
    """Other versions may do as well, but nobody has seen it."""
    assert composition["services"]["kafka"]["image"].rpartition(":")[2] in VERSIONS


def test_every_file_that_is_mounted_is_there(composition: Any) -> None:
    """Docker makes an empty folder of one that is not, and says nothing."""
    for service in composition["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in composition["volumes"] or (FOLDER / source).exists(), source


def test_everything_is_scraped_where_it_listens(composition: Any) -> None:
    """Ports stand in three files, which must agree."""
    [job] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text("utf-8"))["scrape_configs"]
    [static] = job["static_configs"]
    ports = {"gateway": Settings().listen.port, "shard": Settings().shard.port}
    ours = [name for name in composition["services"] if name.partition("-")[0] in ports]

    assert job["job_name"] == "trunkline"
    assert set(static["targets"]) == {f"{name}:{ports[name.partition('-')[0]]}" for name in ours}


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="no haproxy: install it (Debian: haproxy)")
def test_the_entry_passes_calls_and_the_page_where_it_is_wanted(tmp_path: Path, composition: Any) -> None:
    """The very file, with one gateway that says yes to everything; nothing else of a gateway is reached."""
    port, behind = free_port(), free_port()
    text = (FOLDER / "haproxy.cfg").read_text("utf-8").replace("bind :8080", f"bind 127.0.0.1:{port}")
    text = re.sub(r"  server gateway-1 \S+", f"  server gateway-1 127.0.0.1:{behind}", text)
    text = re.sub(r"  server gateway-2 .*\n", "", text)
    (tmp_path / "haproxy.cfg").write_text(text, "utf-8")
    assert plain(composition["services"]["entry"]["environment"]["TRUNKLINE_PAGE"]) == "true"

    with ThreadingHTTPServer(("127.0.0.1", behind), Yes) as gateway:
        Thread(target=gateway.serve_forever, daemon=True).start()
        for page in ("true", "false"):
            command = ["haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")]
            environment = {**os.environ, "TRUNKLINE_PAGE": page}
            with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as haproxy:  # noqa: S603 - Debian's own
                try:
                    until(lambda: answer(port, "/v1/stream") == 200, 60.0, "HAProxy to pass calls", haproxy)
                    assert {answer(port, path) for path in ("/v2", "/v3/ws", "/bridges/twilio")} == {200}
                    assert {answer(port, path) for path in ("/", "/live", "/live/app.js")} == {
                        200 if page == "true" else 404
                    }
                    assert {answer(port, path) for path in ("/metrics", "/readyz", "/healthz", "/lively")} == {404}
                finally:
                    haproxy.kill()
        gateway.shutdown()


class Yes(BaseHTTPRequestHandler):
    """Says yes to every path."""

    def do_GET(self) -> None:
        """Say yes."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of it."""


def answer(port: int, path: str) -> int:
    """Return the status of a path; 0 while nobody listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: install Prometheus (Debian: prometheus)")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """Where compose mounts the rules is not where they lie here."""
    rules = ROOT / "deploy" / "helm" / "trunkline" / "watch" / "rules.yaml"
    text = (FOLDER / "prometheus.yaml").read_text("utf-8").replace("/etc/prometheus/rules.yaml", str(rules))
    (tmp_path / "prometheus.yml").write_text(text, "utf-8")

    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - Prometheus's own tool

    assert ended.returncode == 0, ended.stderr
