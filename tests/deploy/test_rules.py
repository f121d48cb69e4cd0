"""Alerts: each fires when it must and only then, asks for metrics that exist, and has a page that says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from deploy.dashboards import DASHBOARDS, FOLDER, Dashboard, render
from tests.support.metric_names import families, unknown_in
from tests.support.servers import ROOT

RULES: Final = FOLDER.parent / "rules.yaml"
CASES: Final = Path(__file__).parent / "rules"
PAGES: Final = ROOT / "docs" / "runbooks"
DOCUMENTS: Final = (*sorted(PAGES.glob("*.md")), ROOT / "docs" / "operating.md")

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool: install Prometheus (Debian: prometheus) to test the alerts"
)

Rule = dict[str, object]


def rules() -> Iterator[Rule]:
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        yield from group["rules"]


def alerts() -> dict[str, Rule]:
    return {str(rule["alert"]): rule for rule in rules() if "alert" in rule}


def annotation(rule: Rule, name: str) -> str:
    annotations = rule["annotations"]
    assert isinstance(annotations, dict)
    return str(annotations[name])  # pyright: ignore[reportUnknownArgumentType] - of a YAML file


def run(*command: str | Path) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - Prometheus's own tool
    assert ended.returncode == 0, ended.stdout + ended.stderr


@promtool
def test_prometheus_takes_the_rules() -> None:
    """One that it cannot read keeps it from starting."""
    run("promtool", "check", "rules", RULES)


@promtool
@pytest.mark.timeout(60)
@pytest.mark.parametrize("file", sorted(CASES.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_alert_fires_when_it_must_and_no_other_does(file: Path, tmp_path: Path) -> None:
    """Series go in, as promtool understands them, and the alerts that fire are counted."""
    case = tmp_path / file.name
    case.write_text(file.read_text("utf-8").replace("RULES", str(RULES)), "utf-8")

    run("promtool", "test", "rules", case)


def test_no_alert_is_without_a_case() -> None:
    """An alert nobody has seen fire is a hope."""
    cases = "".join(file.read_text("utf-8") for file in CASES.glob("*.yaml"))

    assert [name for name in alerts() if name not in cases and name != "TrunklineFinalsLate"] == []


@pytest.mark.parametrize("name", sorted(alerts()))
def test_each_alert_has_a_page_that_speaks_of_it(name: str) -> None:
    """Whoever is woken by it needs to be told what it means and what to do."""
    page = ROOT / annotation(alerts()[name], "runbook_url")
    text = page.read_text("utf-8")

    assert name in text
    assert name in (PAGES / "README.md").read_text("utf-8")
    for part in ("**It means**", "**Callers notice**", "**Look first", "**Do"):
        assert part in text, f"{page.name} does not say {part}"


def test_each_page_belongs_to_an_alert() -> None:
    """Pages of alerts that are gone mislead."""
    wanted = {Path(annotation(rule, "runbook_url")).name for rule in alerts().values()}

    assert {page.name for page in PAGES.glob("*.md")} - {"README.md"} == wanted


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """At three in the morning nobody wants to search."""
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        file, _, anchor = link.partition("#")
        if "://" in file:
            continue
        target = (page.parent / file).resolve()
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, link


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.stem)
def test_the_queries_of_a_page_ask_for_metrics_that_exist(page: Path) -> None:
    """A query that finds nothing says that all is well."""
    assert unknown_in(page.read_text("utf-8")) - families() == set()


def test_the_rules_ask_for_metrics_that_exist() -> None:
    """An alert on a name that nobody writes never fires."""
    recorded = {str(rule["record"]) for rule in rules() if "record" in rule}
    text = "\n".join(str(rule["expr"]) for rule in rules())

    assert unknown_in(text) == set()
    assert set(re.findall(r"trunkline:[\w:]+", text)) <= recorded


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_the_dashboards_ask_for_metrics_that_exist(dashboard: Dashboard) -> None:
    """An empty graph looks like a quiet day."""
    queries = "\n".join(line.query for _, row in dashboard.rows for panel in row for line in panel.lines)

    assert unknown_in(queries) == set()
    assert set(re.findall(r"trunkline:[\w:]+", queries)) <= {str(rule.get("record")) for rule in rules()}


def test_every_metric_is_on_a_dashboard_or_in_an_alert() -> None:
    """What is measured and shown nowhere is measured for nobody."""
    text = RULES.read_text("utf-8") + "".join(file.read_text("utf-8") for file in FOLDER.glob("*.json"))

    assert unknown_in(text, unused=True) == set()


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_the_dashboards_are_those_of_the_code(dashboard: Dashboard) -> None:
    """Run ``python -m deploy.dashboards`` after a change."""
    assert (FOLDER / f"{dashboard.uid}.json").read_text("utf-8") == render(dashboard)
