"""Tables of what steers the process: risk, charts, virtual metrology, run-to-run, effects."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from console.schema import metadata, wafer_key

__all__ = [
    "automation",
    "chart_points",
    "charts",
    "effects",
    "judgements",
    "r2r_runs",
    "r2r_threads",
    "risks",
    "virtual_metrology",
    "wafer_risks",
]


def _risk_columns() -> tuple[Column[str | int | float], ...]:
    return (
        Column("event_id", String(64), nullable=False),
        Column("lot_id", String(200), nullable=False),
        Column("slot", Integer, nullable=False),
        Column("time_ms", BigInteger, nullable=False),
        Column("step", String(100), nullable=False),
        Column("any_pattern", Float, nullable=False),
        Column("expected_loss", Float, nullable=False),
        Column("pattern", String(100), nullable=False),
        Column("probabilities", Text, nullable=False),
        Column("suspects", Text, nullable=False),
    )


risks = Table(
    "console_risks",
    metadata,
    *wafer_key(),
    Column("sequence", Integer, primary_key=True),
    *_risk_columns(),
    Index("console_risks_time", "site", "time_ms"),
    Index("console_risks_lot", "site", "lot_id", "sequence"),
)
"""What each wafer was expected to show after each step of its route. Goes with its wafer."""

wafer_risks = Table(
    "console_wafer_risks",
    metadata,
    *wafer_key(),
    Column("sequence", Integer, nullable=False),
    *_risk_columns(),
    Index("console_wafer_risks_lot", "site", "lot_id"),
)
"""The same after the last step so far: lots are ranked by it."""


def _chart_columns() -> tuple[Column[str | int | float], ...]:
    return (
        Column("time_ms", BigInteger, nullable=False),
        Column("value", Float, nullable=False),
        Column("center", Float, nullable=False),
        Column("lower", Float),
        Column("upper", Float),
        Column("sigma", Float, nullable=False),
        Column("rules", Text, nullable=False),
        Column("phase", Integer, nullable=False),
        Column("points", Integer, nullable=False),
        Column("contributions", Text, nullable=False),
    )


charts = Table(
    "console_charts",
    metadata,
    Column("site", String(32), primary_key=True),
    Column("chart_id", String(200), primary_key=True),
    Column("event_id", String(64), nullable=False),
    Column("chart", String(32), nullable=False),
    Column("module", String(200), nullable=False),
    Column("step", String(100), nullable=False),
    Column("recipe_id", String(200), nullable=False),
    Column("parameter", String(200), nullable=False),
    *_chart_columns(),
    Column("enabled", Text, nullable=False),
    Column("arl0", Float),
    Column("arl1", Float),
    Column("cp", Float),
    Column("cpk", Float),
    Column("cpk_low", Float),
    Column("cpk_high", Float),
    Column("out_ms", BigInteger, nullable=False),
    Index("console_charts_module", "site", "module"),
    Index("console_charts_time", "time_ms"),
)
"""Each chart at its latest point. `out_ms` is when a rule was last broken; 0 if none was."""

chart_points = Table(
    "console_chart_points",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("chart_id", String(200), nullable=False),
    *_chart_columns(),
    Column("lot_id", String(200), nullable=False),
    Column("substrates", Text, nullable=False),
    Index("console_chart_points_chart", "site", "chart_id", "time_ms", "event_id"),
    Index("console_chart_points_time", "time_ms"),
)

virtual_metrology = Table(
    "console_virtual_metrology",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("module", String(200), nullable=False),
    Column("recipe_id", String(200), nullable=False),
    Column("step", String(100), nullable=False),
    Column("parameter", String(100), nullable=False),
    Column("lot_id", String(200), nullable=False),
    Column("substrate_id", String(200), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("predicted", Float, nullable=False),
    Column("low", Float, nullable=False),
    Column("high", Float, nullable=False),
    Column("coverage", Float, nullable=False),
    Column("unlike", Integer, nullable=False),
    Column("learned", Integer, nullable=False),
    # The registered model that foretold it; '' or NULL (older rows) is the controller itself.
    Column("model", String(200)),
    Index("console_virtual_place", "site", "module", "step", "parameter", "time_ms"),
    Index("console_virtual_wafer", "site", "substrate_id"),
    Index("console_virtual_time", "time_ms"),
)

judgements = Table(
    "console_judgements",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("module", String(200), nullable=False),
    Column("recipe_id", String(200), nullable=False),
    Column("step", String(100), nullable=False),
    Column("lot_id", String(200), nullable=False),
    Column("substrate_id", String(200), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("task", String(16), nullable=False),
    Column("score", Float),
    Column("reason", Text, nullable=False),
    Column("contributions", Text, nullable=False),
    Column("troubles", Text, nullable=False),
    Column("model", String(200), nullable=False),
    Column("model_version", String(200), nullable=False),
    Index("console_judgements_wafer", "site", "substrate_id"),
    Index("console_judgements_lot", "site", "lot_id", "task"),
    Index("console_judgements_time", "time_ms"),
)
"""What registered models of faults and of risk said of each trace."""


def _r2r_columns() -> tuple[Column[str | int | float], ...]:
    return (
        Column("time_ms", BigInteger, nullable=False),
        Column("target", Float, nullable=False),
        Column("measured", Float, nullable=False),
        Column("virtual", Integer, nullable=False),
        Column("disturbance", Float, nullable=False),
        Column("drift", Float, nullable=False),
        Column("set_point", Float, nullable=False),
        Column("recommended", Float, nullable=False),
        Column("gain", Float, nullable=False),
        Column("gain_ratio", Float),
        Column("weight", Float, nullable=False),
        Column("runs", Integer, nullable=False),
        Column("status", String(16), nullable=False),
        Column("reason", Text, nullable=False),
    )


r2r_threads = Table(
    "console_r2r_threads",
    metadata,
    Column("site", String(32), primary_key=True),
    Column("thread", String(600), primary_key=True),
    Column("event_id", String(64), nullable=False),
    Column("product", String(200), nullable=False),
    Column("module", String(200), nullable=False),
    Column("recipe_id", String(200), nullable=False),
    Column("step", String(100), nullable=False),
    Column("output", String(100), nullable=False),
    Column("parameter", String(100), nullable=False),
    *_r2r_columns(),
    Index("console_r2r_threads_time", "time_ms"),
)
"""Each run-to-run thread after its latest run."""

r2r_runs = Table(
    "console_r2r_runs",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("thread", String(600), nullable=False),
    *_r2r_columns(),
    Index("console_r2r_runs_thread", "site", "thread", "time_ms", "event_id"),
    Index("console_r2r_runs_time", "time_ms"),
)

effects = Table(
    "console_effects",
    metadata,
    Column("action_id", String(200), primary_key=True),
    Column("event_id", String(64), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("measure", Text, nullable=False),
    Column("before", Float, nullable=False),
    Column("after", Float, nullable=False),
    Column("wafers", Integer, nullable=False),
    Column("consequence", String(16), nullable=False),
    Column("evidence", Text, nullable=False),
)
"""Whether an action helped; apart from the action, since either may arrive first."""

automation = Table(
    "console_automation",
    metadata,
    Column("site", String(32), primary_key=True),
    Column("automatic", Integer, nullable=False),
    Column("by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("event_id", String(64), nullable=False),
)
"""Where the switch over automatic actions stands, for each site at which it was ever used."""
