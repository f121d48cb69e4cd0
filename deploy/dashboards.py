"""Grafana's dashboards, from code: ``python -m deploy.dashboards`` writes them beside the rules in the chart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "helm" / "trunkline" / "watch" / "dashboards"

COLUMNS: Final = 24
"""Width of Grafana's grid."""
PANEL_HEIGHT: Final = 8
PER_ROW: Final = 3

SOURCE: Final[dict[str, object]] = {"type": "prometheus", "uid": "${datasource}"}
HERE: Final = 'job="$job",namespace=~"$namespace"'
"""Selects one installation."""

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Line:
    """One query of a panel."""

    query: str
    """PromQL; HERE stands for the selection of the installation."""
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph."""

    title: str
    unit: str
    """Grafana's name of it: s, percentunit, short, ops."""
    help: str
    """What it shows, and what is good."""
    lines: tuple[Line, ...]
    limit: float | None = None
    """Where it becomes a problem, drawn as a line."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of graphs."""

    uid: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def quantiles(metric: str, by: str = "", shares: Sequence[float] = (0.5, 0.95, 0.99)) -> tuple[Line, ...]:
    """Return the lines of a histogram.

    Args:
        metric: Its name without ``_bucket``.
        by: Label whose values are told apart; none for all together.
        shares: Quantiles, 0..1.
    """
    labels = f"le, {by}" if by else "le"
    which = f" {{{{{by}}}}}" if by else ""
    return tuple(
        Line(
            f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{HERE}}[$__rate_interval])))",
            f"p{share * 100:g}{which}",
        )
        for share in shares
    )


def rate(metric: str, by: str, legend: str | None = None) -> Line:
    """Return the line of a counter, per second."""
    return Line(f"sum by ({by}) (rate({metric}{{HERE}}[$__rate_interval]))", legend or f"{{{{{by}}}}}")


CALLS: Final = Dashboard(
    "trunkline-calls",
    "Trunkline: calls",
    (
        (
            "What callers get",
            (
                Panel(
                    "End of speech to final",
                    "s",
                    "From the arrival of the last spoken sample to the final. The promise is 3 s at p95.",
                    quantiles("trunkline_final_latency_seconds"),
                    limit=3,
                ),
                Panel(
                    "Delay of partials",
                    "s",
                    "How far a partial is behind the audio received.",
                    quantiles("trunkline_partial_latency_seconds"),
                    limit=3,
                ),
                Panel(
                    "Finals later than 3 s, or lost",
                    "percentunit",
                    "The promise allows 0.5 %.",
                    tuple(
                        Line(f"trunkline:finals_late:ratio_rate{window}{{HERE}}", window)
                        for window in ("5m", "1h", "6h", "3d")
                    ),
                    limit=0.005,
                ),
                Panel(
                    "Broken promises",
                    "short",
                    "Each of these must stay at 0.",
                    (
                        Line("sum(increase(trunkline_finals_lost_total{HERE}[$__rate_interval]))", "finals lost"),
                        Line("sum(increase(trunkline_final_gap_total{HERE}[$__rate_interval]))", "finals skipped"),
                        Line("sum(increase(trunkline_calls_failed_total{HERE}[$__rate_interval]))", "calls failed"),
                    ),
                    limit=1,
                ),
                Panel(
                    "Finals by model",
                    "ops",
                    "Which model wrote them; a smaller one than asked for is the ladder at work.",
                    (rate("trunkline_finals_total", "model"),),
                ),
                Panel(
                    "Windows without text",
                    "ops",
                    "Partials that were replaced, or whatever devices failed of.",
                    (rate("trunkline_undecoded_windows_total", "kind, error", "{{kind}} {{error}}"),),
                ),
            ),
        ),
        (
            "Who calls",
            (
                Panel(
                    "Calls in progress",
                    "short",
                    "On all gateways of the log.",
                    (Line("max(trunkline_calls{HERE})", "calls"),),
                ),
                Panel(
                    "Connections",
                    "short",
                    "By protocol and state.",
                    (Line("sum by (protocol, state) (trunkline_sessions{HERE})", "{{protocol}} {{state}}"),),
                ),
                Panel(
                    "Answers to new calls",
                    "ops",
                    "Refusals are how overload is answered; over 2 % they page.",
                    (rate("trunkline_admission_total", "decision, reason", "{{decision}} {{reason}}"),),
                ),
                Panel(
                    "Ends of connections",
                    "ops",
                    "Why they ended.",
                    (rate("trunkline_closes_total", "reason"),),
                ),
                Panel(
                    "Calls that lost their connection",
                    "ops",
                    "And what became of them: resumed here, or given up.",
                    (rate("trunkline_resumes_total", "outcome"),),
                ),
                Panel(
                    "Ingested records that are no events",
                    "ops",
                    "Of the topic that others write calls to, by what is wrong with them.",
                    (rate("trunkline_ingest_unreadable_total", "code"),),
                ),
                Panel(
                    "HTTP refusals",
                    "ops",
                    "By status and code.",
                    (rate("trunkline_refusals_total", "status, code", "{{status}} {{code}}"),),
                ),
                Panel(
                    "Audio received",
                    "short",
                    "Seconds of audio per second, every side counted: channels that send. Counted when a call ends.",
                    (rate("trunkline_audio_seconds_total", "protocol"),),
                ),
            ),
        ),
    ),
)

CAPACITY: Final = Dashboard(
    "trunkline-capacity",
    "Trunkline: capacity",
    (
        (
            "Shards",
            (
                Panel(
                    "Shards",
                    "short",
                    "How many there should be, and how many take calls.",
                    (
                        Line("max(trunkline_desired_shards{HERE})", "desired"),
                        Line("max(trunkline_ready_shards{HERE})", "ready"),
                    ),
                ),
                Panel(
                    "Utilisation at rung 0",
                    "percentunit",
                    "Over 85 % a shard hands calls on; over 92 % it takes none.",
                    (Line("trunkline_utilization_ratio{HERE}", "{{instance}}"),),
                    limit=0.85,
                ),
                Panel(
                    "Capacity",
                    "short",
                    "Calls a shard can hold at the last rung of its ladder: those it has, and its room.",
                    (Line("trunkline_capacity_calls{HERE}", "{{instance}}"),),
                ),
                Panel(
                    "Room",
                    "short",
                    "Further calls a shard can take, at the last rung of its ladder.",
                    (Line("trunkline_room_calls{HERE}", "{{instance}}"),),
                ),
                Panel(
                    "What the ladder sees",
                    "s",
                    "p95 of the latency of finals over the last seconds; 0 if there were few.",
                    (Line("trunkline_recent_final_p95_seconds{HERE}", "{{instance}}"),),
                    limit=3,
                ),
                Panel(
                    "Rung of the ladder",
                    "short",
                    "0 is the promised rung; above it text is made with less care, below with more.",
                    (Line("trunkline_rung{HERE}", "{{instance}}"),),
                    limit=1,
                ),
                Panel(
                    "Steps of the ladder",
                    "ops",
                    "Up and down, and why. Steps without an end are a ladder that does not settle.",
                    (rate("trunkline_rung_changes_total", "direction, reason", "{{direction}} {{reason}}"),),
                ),
                Panel(
                    "Cadence of partials",
                    "s",
                    "New audio between two partials; it is the first thing to be stretched.",
                    (Line("trunkline_partial_cadence_seconds{HERE}", "{{instance}}"),),
                ),
                Panel(
                    "Moves",
                    "ops",
                    "Slots that went to another shard, and why: moved from a fuller one, drained, lost, spread.",
                    (rate("trunkline_moves_total", "reason", "{{reason}}"),),
                ),
                Panel(
                    "Hand-over of a slot",
                    "s",
                    "From the new owner's reading of the claim to its serving the slot.",
                    quantiles("trunkline_handoff_seconds"),
                    limit=10,
                ),
                Panel(
                    "Calls and slots of each shard",
                    "short",
                    "What each of them serves.",
                    (
                        Line("trunkline_shard_calls{HERE}", "calls {{instance}}"),
                        Line("trunkline_shard_slots{HERE}", "slots {{instance}}"),
                    ),
                ),
                Panel(
                    "Wait for the log",
                    "s",
                    "How long the oldest record has been waiting for Kafka's brokers. Over 1.5 s callers are told.",
                    (Line("trunkline_log_waiting_seconds{HERE}", "{{instance}}"),),
                    limit=1.5,
                ),
                Panel(
                    "Owners",
                    "ops",
                    "Changes of a slot's owner, records of former owners, unreadable records.",
                    (
                        Line("sum(rate(trunkline_slot_epoch_fenced_total{HERE}[$__rate_interval]))", "changes"),
                        Line("sum(rate(trunkline_superseded_total{HERE}[$__rate_interval]))", "superseded"),
                        Line("sum(rate(trunkline_unreadable_records_total{HERE}[$__rate_interval]))", "unreadable"),
                    ),
                ),
            ),
        ),
        (
            "Devices",
            (
                Panel(
                    "Ready",
                    "short",
                    "1 while a device takes work.",
                    (Line("trunkline_device_ready{HERE}", "{{instance}} {{gpu}}"),),
                ),
                Panel(
                    "Wait for a device",
                    "s",
                    "How long windows waited. Over 10 s it pages.",
                    quantiles("trunkline_queue_wait_seconds", "gpu", (0.5, 0.95)),
                    limit=10,
                ),
                Panel(
                    "Expected wait and backlog",
                    "s",
                    "What a final handed over now would wait, and how long all of the queue takes.",
                    (
                        Line("trunkline_expected_wait_seconds{HERE}", "wait {{instance}}"),
                        Line("trunkline_backlog_seconds{HERE}", "backlog {{instance}}"),
                    ),
                ),
                Panel(
                    "Time of a batch",
                    "s",
                    "By model.",
                    quantiles("trunkline_batch_seconds", "model", (0.5, 0.95)),
                ),
                Panel(
                    "Windows in a batch",
                    "short",
                    "Mean, by device.",
                    (
                        Line(
                            "sum by (gpu) (rate(trunkline_batch_size_sum{HERE}[$__rate_interval]))"
                            " / sum by (gpu) (rate(trunkline_batch_size_count{HERE}[$__rate_interval]))",
                            "{{gpu}}",
                        ),
                    ),
                ),
                Panel(
                    "Windows decoded twice",
                    "ops",
                    "A check found the text implausible and had it decoded again, padded.",
                    (rate("trunkline_padded_retries_total", "model"),),
                ),
                Panel(
                    "Jobs dropped",
                    "ops",
                    "Superseded and stale partials are the way overload is meant to show.",
                    (rate("trunkline_dropped_jobs_total", "gpu, why", "{{gpu}} {{why}}"),),
                ),
                Panel(
                    "Faults",
                    "ops",
                    "What went wrong on devices.",
                    (rate("trunkline_gpu_faults_total", "gpu, kind", "{{gpu}} {{kind}}"),),
                ),
                Panel(
                    "Batches at a time",
                    "short",
                    "On average; no more than a device has streams, and below 1 it had nothing to do for the rest.",
                    (rate("trunkline_batch_seconds_sum", "instance, gpu", "{{instance}} {{gpu}}"),),
                ),
            ),
        ),
        (
            "Outlets",
            (
                Panel(
                    "Documents that wait",
                    "short",
                    "Handed to an outlet, and neither taken nor given up.",
                    (Line("sum by (outlet) (trunkline_outlet_waiting{HERE})", "{{outlet}}"),),
                ),
                Panel(
                    "Documents given up",
                    "ops",
                    "What a receiver never took. It should stay at 0.",
                    (rate("trunkline_outlet_given_up_total", "outlet"),),
                ),
                Panel(
                    "Posts to webhooks",
                    "ops",
                    "And what came of them.",
                    (rate("trunkline_webhook_tries_total", "outlet, outcome", "{{outlet}} {{outcome}}"),),
                ),
            ),
        ),
        (
            "What runs",
            (
                Panel(
                    "Versions",
                    "short",
                    "Processes by version; two of them are an upgrade under way.",
                    (Line("count by (version) (trunkline_build_info{HERE})", "{{version}}"),),
                ),
            ),
        ),
    ),
)

DASHBOARDS: Final = (CALLS, CAPACITY)


def render(dashboard: Dashboard) -> str:
    """Return a dashboard as the JSON that Grafana imports."""
    panels: list[Json] = []
    top = 0
    for title, row in dashboard.rows:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": _place(0, top, COLUMNS, 1),
            }
        )
        top += 1
        width = COLUMNS // PER_ROW
        for number, panel in enumerate(row):
            place = _place(number % PER_ROW * width, top + number // PER_ROW * PANEL_HEIGHT, width, PANEL_HEIGHT)
            panels.append(_graph(panel, len(panels) + 1, place))
        top += -(-len(row) // PER_ROW) * PANEL_HEIGHT
    whole: Json = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["trunkline"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "graphTooltip": 1,
        "templating": {"list": _variables()},
        "panels": panels,
    }
    return json.dumps(whole, indent=1) + "\n"


def _place(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _graph(panel: Panel, number: int, place: Json) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"thresholdsStyle": {"mode": "off" if panel.limit is None else "line"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": line.query.replace("{HERE}", f"{{{HERE}}}"),
                "legendFormat": line.legend,
            }
            for place, line in enumerate(panel.lines)
        ],
    }


def _variables() -> list[Json]:
    found: Json = {"type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1}
    return [
        {"type": "datasource", "name": "datasource", "query": "prometheus"},
        {**found, "name": "job", "query": "label_values(trunkline_build_info, job)"},
        {
            **found,
            "name": "namespace",
            "query": 'label_values(trunkline_build_info{job="$job"}, namespace)',
            "includeAll": True,
            "allValue": ".*",
        },
    ]


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(render(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
