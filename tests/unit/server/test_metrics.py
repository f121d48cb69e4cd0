"""The metrics a process declares: what dashboards, alerts and autoscalers are built on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from server.metrics import LATENCY_S, VERSION, Metrics

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_version_that_is_shown_is_the_projects() -> None:
    """Nothing is installed that could be asked for it, so the two are written twice and held equal here."""
    assert tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"] == VERSION


def test_promise_and_alert_lines_are_bucket_edges() -> None:
    """A share of finals within 3 s, or of waits over 10 s, is exact only at an edge."""
    assert {3.0, 10.0} <= set(LATENCY_S)


def test_every_metric_bears_the_products_name() -> None:
    """One prefix finds them all, among those of everything else that is scraped."""
    exposition = Metrics(CollectorRegistry()).exposition().decode()

    assert all(family.name.startswith("trunkline_") for family in text_string_to_metric_families(exposition))


def test_what_a_process_knows_nothing_of_it_does_not_show() -> None:
    """A gateway that showed rung 0, or a shard that showed no calls, would be believed."""
    metrics = Metrics(CollectorRegistry())
    assert b"trunkline_rung" not in metrics.exposition().replace(b"trunkline_rung_changes", b"")

    metrics.rung.set(0)
    metrics.room.set_function(lambda: 7)

    assert b"\ntrunkline_rung 0.0\n" in metrics.exposition()
    assert b"\ntrunkline_room_calls 7.0\n" in metrics.exposition()


def test_no_label_can_name_a_call_or_a_caller() -> None:
    """A label per call is a leak and, in time, the end of any Prometheus."""
    labels = {label for family in declared() for label in family}

    assert labels.isdisjoint({"call", "session", "caller", "tenant", "user", "phone"})


def test_every_metric_is_set_by_somebody() -> None:
    """A gauge that nobody sets says 0, and looks as if it had been measured."""
    sources = "\n".join(
        file.read_text(encoding="utf-8")
        for file in (PROJECT.parent / "server").rglob("*.py")
        if file.name != "metrics.py"
    )
    used = set(re.findall(r"metrics\.(\w+)", sources))
    names = {name for name, metric in vars(Metrics(CollectorRegistry())).items() if hasattr(metric, "_labelnames")}

    assert names, "nothing is declared"
    assert names <= used, f"nobody sets {sorted(names - used)}"


def declared() -> list[tuple[str, ...]]:
    """Return the labels of each metric."""
    return [tuple(getattr(metric, "_labelnames", ())) for metric in vars(Metrics(CollectorRegistry())).values()]
