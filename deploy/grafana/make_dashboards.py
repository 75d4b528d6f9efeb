"""Writes the dashboards from the tables below: `python deploy/grafana/make_dashboards.py`.

A test fails when the files are not what this writes, or when a panel asks for a figure that no
process shows. Units are Grafana's names of them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent / "dashboards"
_SOURCE = {"type": "prometheus", "uid": "prometheus"}
# Grafana's grid has 24 columns.
_COLUMNS = 24


@dataclass(frozen=True)
class Panel:
    """One panel: what it asks, per legend, and what the answer is counted in.

    Attributes:
        bad_above: where a figure turns red; None where no value is bad in itself.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    width: int = 8
    height: int = 7
    bad_above: float | None = None
    text: str = ""


def _p(share: str, metric: str, group: str = "") -> str:
    where = f'{{group=~"{group}.*"}}' if group else ""
    of = f"sum by (le) (rate({metric}_bucket{where}[5m]))"
    return f"histogram_quantile({share}, {of})"


LATENCY = "fabpilot_record_latency_seconds"
OPERATORS = [
    Panel("processes up", {"up": 'sum(up{job="fabpilot"})'}, kind="stat", width=4, height=4),
    Panel(
        "processes down",
        {"down": 'count(up{job="fabpilot"} == 0) or vector(0)'},
        kind="stat",
        width=4,
        height=4,
        bad_above=1,
    ),
    Panel(
        "alerts of Prometheus",
        {"firing": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
        kind="stat",
        width=4,
        height=4,
        bad_above=1,
    ),
    Panel(
        "dead letters, last hour",
        {"dead": "sum(increase(fabpilot_dead_letters_total[1h]))"},
        kind="stat",
        width=4,
        height=4,
        bad_above=1,
    ),
    Panel(
        "since the last wafer",
        {"age": "max(fabpilot_console_last_wafer_seconds)"},
        unit="s",
        kind="stat",
        width=4,
        height=4,
        bad_above=900,
    ),
    Panel(
        "disk free",
        {"free": "min(fabpilot_disk_free_bytes / fabpilot_disk_bytes)"},
        unit="percentunit",
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        "records settled a second",
        {"{{group}}": "sum by (group) (rate(fabpilot_records_consumed_total[1m]))"},
        unit="reqps",
        text="Dead letters included. The controller reads some thirty records a wafer.",
    ),
    Panel(
        "lag",
        {"{{group}}": "fabpilot:group_lag_records:sum"},
        text="Records not settled yet. On Kafka transactions' markers count too: a few are none.",
    ),
    Panel(
        "from the log to the commit",
        {
            "processor p50": _p("0.5", LATENCY, "processor"),
            "processor p99": _p("0.99", LATENCY, "processor"),
            "controller p50": _p("0.5", LATENCY, "controller"),
            "controller p99": _p("0.99", LATENCY, "controller"),
        },
        unit="s",
    ),
    Panel(
        "in hand, or waiting to be published",
        {"{{group}} {{instance}}": "fabpilot_queue_records"},
        text="Bounded in a processor; an outbox that grows means that Kafka is away.",
    ),
    Panel(
        "since the loop turned last",
        {"{{service}} {{instance}}": "fabpilot_turn_age_seconds"},
        unit="s",
        bad_above=60,
    ),
    Panel(
        "memory",
        {"{{service}} {{instance}}": 'process_resident_memory_bytes{job="fabpilot"}'},
        unit="bytes",
    ),
    Panel(
        "processor time",
        {"{{service}} {{instance}}": 'rate(process_cpu_seconds_total{job="fabpilot"}[1m])'},
        unit="percentunit",
        text="1 is one core.",
    ),
    Panel(
        "the model that serves",
        {"": "max by (name, version, sha256, provider) (fabpilot_model_info)"},
        kind="table",
        text="More than one row for minutes: a processor does not follow the registry.",
    ),
    Panel(
        "model and device",
        {
            "on CUDA": "sum(fabpilot_device_cuda)",
            "degraded to the CPU": "sum(fabpilot_device_degraded)",
            "registry refused": "sum(fabpilot_model_refused)",
        },
    ),
    Panel(
        "traces judged a second",
        {
            "{{task}} {{verdict}} {{model}} v{{version}}": (
                "sum by (task, verdict, model, version) (rate(fabpilot_judgements_total[5m]))"
            )
        },
        unit="reqps",
        text="By served models of traces. Beyond its limit is one normal run in a hundred.",
    ),
    Panel(
        "judgements charted as out",
        {"{{model}}": 'sum by (model) (rate(fabpilot_judgements_charted_total{state="out"}[5m]))'},
        unit="reqps",
        text="Of fault models: too many runs of a module beyond the limit.",
    ),
    Panel(
        "since the last judgement",
        {
            "{{task}}": "time() - max by (task) (fabpilot_last_judgement_timestamp_seconds)",
            "charted": "time() - max(fabpilot_last_charted_timestamp_seconds)",
        },
        unit="s",
        text="Latency of judgements is 'from the log to the commit' of their processor.",
    ),
    Panel(
        "a batch in the model",
        {
            "p50": _p("0.5", "fabpilot_scoring_seconds"),
            "p99": _p("0.99", "fabpilot_scoring_seconds"),
        },
        unit="s",
    ),
    Panel(
        "wafers a batch",
        {
            "mean": "sum(rate(fabpilot_scoring_batch_records_sum[5m]))"
            " / sum(rate(fabpilot_scoring_batch_records_count[5m]))"
        },
    ),
    Panel(
        "since the registry was asked",
        {"{{instance}}": "fabpilot_model_check_age_seconds"},
        unit="s",
        bad_above=600,
    ),
    Panel("who leads", {"{{site}} {{instance}}": "fabpilot_leader"}),
    Panel(
        "behind on the console",
        {"records": "fabpilot_console_lag_records"},
        text="Records of the log that pages do not show yet.",
    ),
    Panel("versions", {"": "count by (process, version) (fabpilot_build_info)"}, kind="table"),
]
ENGINEERS = [
    Panel(
        "wafers shown", {"wafers": "max(fabpilot_console_wafers)"}, kind="stat", width=6, height=4
    ),
    Panel(
        "open alerts", {"open": "max(fabpilot_console_alerts_open)"}, kind="stat", width=6, height=4
    ),
    Panel(
        "alerts an engineer and hour",
        {"rate": "max(fabpilot_console_alerts_per_engineer_hour)"},
        kind="stat",
        width=6,
        height=4,
        # More than that is more than one can look into.
        bad_above=6,
    ),
    Panel(
        "since the last wafer",
        {"age": "max(fabpilot_console_last_wafer_seconds)"},
        unit="s",
        kind="stat",
        width=6,
        height=4,
        bad_above=900,
    ),
    Panel(
        "wafers tested a minute",
        {"{{site}}": "sum by (site) (rate(fabpilot_predictions_total[5m])) * 60"},
        width=12,
        text="By what the model saw; a wafer with two patterns counts twice.",
    ),
    Panel(
        "patterns a minute",
        {
            "{{pattern}}": "sum by (pattern)"
            ' (rate(fabpilot_predictions_total{pattern!="None"}[15m])) * 60'
        },
        width=12,
    ),
    Panel(
        "share of wafers with a pattern",
        {
            "{{site}}": "sum by (site)"
            ' (rate(fabpilot_predictions_total{pattern!="None"}[15m]))'
            " / sum by (site) (rate(fabpilot_predictions_total[15m]))"
        },
        unit="percentunit",
        width=12,
    ),
    Panel(
        "wafers unlike what the model learned",
        {
            "{{site}}": "sum by (site) (rate(fabpilot_novel_wafers_total[1h]))"
            ' / sum by (site) (rate(fabpilot_records_consumed_total{group=~"processor.*"}[1h]))'
        },
        unit="percentunit",
        width=12,
        bad_above=0.1,
        text="One known wafer in a hundred is. Ten in a hundred: a new pattern, or the fab drifts.",
    ),
    Panel(
        "alerts raised an hour",
        {"{{kind}} {{severity}}": "sum by (kind, severity) (increase(fabpilot_alerts_total[1h]))"},
        width=12,
        text="pattern: seen on wafer maps. fault: in traces. unknown, drift: about the model.",
    ),
    Panel(
        "actions an hour",
        {"{{kind}} {{status}}": "sum by (kind, status) (increase(fabpilot_actions_total[1h]))"},
        width=12,
    ),
    Panel("wafers of the synthetic fab", {"{{site}}": "fabpilot_fab_wafers"}, width=12),
    Panel(
        "from the wafer map to its prediction",
        {
            "p50": _p("0.5", LATENCY, "processor"),
            "p99": _p("0.99", LATENCY, "processor"),
        },
        unit="s",
        width=12,
    ),
]
BOARDS = {
    "operators": ("fabpilot: operators", OPERATORS),
    "fab-engineers": ("fabpilot: fab engineers", ENGINEERS),
}


def dashboard(uid: str) -> dict[str, Any]:
    """A dashboard as Grafana reads it."""
    title, panels = BOARDS[uid]
    column = row = row_height = 0
    shown = []
    for number, panel in enumerate(panels, 1):
        if column + panel.width > _COLUMNS:
            column, row, row_height = 0, row + row_height, 0
        place = {"x": column, "y": row, "w": panel.width, "h": panel.height}
        shown.append(_panel(number, panel, place))
        column, row_height = column + panel.width, max(row_height, panel.height)
    return {
        "uid": f"fabpilot-{uid}",
        "title": title,
        "tags": ["fabpilot"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "panels": shown,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_above is not None:
        steps.append({"color": "red", "value": panel.bad_above})
    targets = [
        {
            "refId": chr(ord("A") + place_of),
            "datasource": _SOURCE,
            "expr": query,
            "legendFormat": legend,
            "instant": panel.kind != "timeseries",
            **({"format": "table"} if panel.kind == "table" else {}),
        }
        for place_of, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {},
        "targets": targets,
    }


def text(uid: str) -> str:
    """The file of a dashboard."""
    return json.dumps(dashboard(uid), indent=1) + "\n"


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name in BOARDS:
        (HERE / f"{name}.json").write_text(text(name))
