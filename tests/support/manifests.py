"""Kubernetes manifests, rendered and held against the schemas of the versions they must work on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final, cast

import jsonschema
import kubernetes_validate
import yaml

from tests.support.go_tools import KEDA, PROMETHEUS_OPERATOR, helm, module

KUBERNETES: Final = ("1.28", "1.31", "1.34", "1.37")
"""Versions of Kubernetes, the oldest that Chart.yaml allows among them."""

CUSTOM: Final = {
    "ScaledObject": (KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "ServiceMonitor": (
        PROMETHEUS_OPERATOR,
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    "PrometheusRule": (
        PROMETHEUS_OPERATOR,
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}
"""Kinds that others define, and where they do."""

Manifest = dict[str, object]


class ChartRefused(Exception):
    """Helm does not render a chart; the message is Helm's."""


def render(chart: Path, settings: Sequence[str] = (), values: Path | None = None, version: str = "1.31") -> str:
    """Return what a chart becomes.

    Args:
        chart: Its folder.
        settings: Values as ``name=value``.
        values: A file of values.
        version: Of the Kubernetes it is rendered for.

    Raises:
        ChartRefused: If Helm refuses the values.
        ToolMissing: If there is no Helm.
    """
    command: list[str | Path] = [helm(), "template", "calls", chart, "--namespace", "speech", "--kube-version", version]
    for setting in settings:
        command += ["--set", setting]
    if values:
        command += ["--values", values]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - Helm
    if ended.returncode:
        raise ChartRefused(ended.stderr)
    return str(ended.stdout)


def documents(text: str) -> list[Manifest]:
    """Return the manifests of a text."""
    return [each for each in yaml.safe_load_all(text) if each]


def check(manifest: Manifest, version: str) -> None:
    """Hold a manifest against its schema, in which nothing may stand that the schema does not know.

    Raises:
        jsonschema.ValidationError: If it does not fit.
    """
    kind = str(manifest["kind"])
    if kind in CUSTOM:
        jsonschema.validate(manifest, _schema(kind))
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


@cache
def _schema(kind: str) -> Manifest:
    source, path = CUSTOM[kind]
    definition = yaml.safe_load((module(source) / path).read_text("utf-8"))
    schema = cast("Manifest", definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    for part in _objects(schema):
        if "properties" in part and not part.get("x-kubernetes-preserve-unknown-fields"):
            part.setdefault("additionalProperties", False)
        if str(part.get("pattern", "")).startswith("^(?i)"):  # Go's way; Python wants the flag in front
            part["pattern"] = "(?i)^" + str(part["pattern"]).removeprefix("^(?i)")
    cast("Manifest", schema["properties"])["metadata"] = {"type": "object"}
    return schema


def _objects(part: object) -> Iterable[Manifest]:
    """Return every schema inside a schema."""
    if isinstance(part, dict):
        yield cast("Manifest", part)
        for each in cast("Manifest", part).values():
            yield from _objects(each)
    elif isinstance(part, list):
        for each in cast("list[object]", part):
            yield from _objects(each)
