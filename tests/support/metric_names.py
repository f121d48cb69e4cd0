"""Which metrics a text of queries speaks of, held against those that server/metrics.py declares."""

from __future__ import annotations

import re
from typing import Final

from prometheus_client import CollectorRegistry

from server.metrics import Metrics, Told

ENDINGS: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
    "info": ("_info",),
}
"""What a family's series are called by, after its name."""

OF_PROMETHEUS: Final = {"job", "instance", "namespace", "le"}
"""Labels that come with scraping, or with histograms."""


def declared() -> dict[str, set[str]]:
    """Return the series of a process, each with its labels."""
    metrics = Metrics(CollectorRegistry())
    for each in vars(metrics).values():
        if isinstance(each, Told):
            each.set(0.0)
    labels = {getattr(each, "_name", ""): set(getattr(each, "_labelnames", ())) for each in vars(metrics).values()}
    return {
        family.name + ending: labels.get(family.name, set())
        | ({"version", "python"} if family.type == "info" else set())
        for family in metrics.registry.collect()
        for ending in ENDINGS[family.type]
    }


def families() -> set[str]:
    """Return the names of metrics as prose uses them: a histogram without its series' endings."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in declared()}


def unknown_in(text: str, *, unused: bool = False) -> set[str]:
    """Return what a text asks for that no process writes: series, and labels of series.

    Args:
        text: Queries, among whatever else.
        unused: Return what is declared and not asked for instead, by family.
    """
    known = declared()
    found = set(re.findall(r"\btrunkline_[a-z_0-9]+", text))
    if unused:
        asked = {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}
        return families() - asked
    strangers = found - set(known)
    for name, selected in re.findall(r"\b(trunkline_[a-z_0-9]+)\{([^}]*)\}", text):
        labels = set(re.findall(r"(\w+)\s*[=!]", selected))
        strangers |= {f"{name}{{{label}}}" for label in labels - known.get(name, labels) - OF_PROMETHEUS}
    return strangers
