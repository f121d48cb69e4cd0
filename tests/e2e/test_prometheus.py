"""The official Prometheus scrapes a live server, takes the rules, and sees what really happens."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from deploy.dashboards import DASHBOARDS, FOLDER
from tests.support.prometheus_server import Prometheus, scraping, unavailable
from tests.support.servers import SCRIPTED, ServerProcess, serving, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(unavailable() is not None, reason=unavailable() or ""),
]

SEEN_S = 60.0
"""Seconds for what happened to be scraped and evaluated."""


def configuration(server: ServerProcess) -> dict[str, object]:
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(FOLDER.parent / "rules.yaml")],
        "scrape_configs": [
            {"job_name": "trunkline", "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}]},
        ],
    }


def health(prometheus: Prometheus) -> set[str]:
    """Return what became of the rules' evaluation: ok, err, or unknown before the first."""
    return {rule["health"] for group in prometheus.api("rules")["groups"] for rule in group["rules"]}


def test_prometheus_sees_a_live_server_and_its_rules_and_dashboards_work_on_it(tmp_path: Path) -> None:
    """What unit tests of alerts cannot show: that the names, labels and types are those of a real process."""
    with serving(*SCRIPTED, log=tmp_path / "server.log") as server, scraping(configuration(server), tmp_path) as found:
        until(lambda: "up" in found.targets().values(), SEEN_S, "the target to be up")
        until(lambda: found.value("count(trunkline_device_ready == 1)") is not None, SEEN_S, "a device to be seen")
        until(lambda: health(found) == {"ok"}, SEEN_S, "the rules to be evaluated")
        until(lambda: found.value('up{job="trunkline"}') == 1, SEEN_S, "the target to be up by its series, too")

        assert [alert for alert in found.api("alerts")["alerts"] if alert["state"] == "firing"] == []
        selected = 'job="trunkline",namespace=~".*"'
        for dashboard in DASHBOARDS:
            for _, row in dashboard.rows:
                for line in (line for panel in row for line in panel.lines):
                    query = line.query.replace("HERE", selected).replace("$__rate_interval", "1m")
                    found.api("query", query=query)


def test_a_device_that_dies_is_seen(tmp_path: Path) -> None:
    """From a kill to the series that an alert counts, through nothing but what ships."""
    with serving(*SCRIPTED, log=tmp_path / "server.log") as server, scraping(configuration(server), tmp_path) as found:
        [device] = server.device_pids()
        os.kill(device, signal.SIGKILL)

        until(
            lambda: bool(found.value('sum(trunkline_gpu_faults_total{kind="crash"})')),
            SEEN_S,
            "the fault to be seen",
        )


def test_a_server_that_goes_away_becomes_an_alert(tmp_path: Path) -> None:
    """The alert that nothing answers rests on absence, which only a real Prometheus has."""
    with serving(*SCRIPTED, log=tmp_path / "server.log") as server, scraping(configuration(server), tmp_path) as found:
        until(lambda: "up" in found.targets().values(), SEEN_S, "the target to be up")
        server.stop()

        until(
            lambda: (
                {"TrunklineGone", "TrunklineTargetDown"}
                <= {alert["labels"]["alertname"] for alert in found.api("alerts")["alerts"]}
            ),
            SEEN_S,
            "the alerts to be pending",
        )
