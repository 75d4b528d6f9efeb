"""The console's tables: a read model projected from the log, and the audit trail.

All but `console_audit` can be thrown away and projected again from the log. Names carry the prefix
`console_`, because the controller may keep its state in the same database.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from console.schema import big_key, metadata, wafer_key
from console.steering_tables import (
    automation,
    chart_points,
    charts,
    effects,
    judgements,
    r2r_runs,
    r2r_threads,
    risks,
    virtual_metrology,
    wafer_risks,
)
from streaming.migrate import migrate

__all__ = [
    "actions",
    "alert_states",
    "alerts",
    "audit",
    "automation",
    "changes",
    "chart_points",
    "charts",
    "counters",
    "create_tables",
    "dead_letters",
    "effects",
    "judgements",
    "labels",
    "metadata",
    "metrology",
    "module_states",
    "modules",
    "predictions",
    "r2r_runs",
    "r2r_threads",
    "review_images",
    "risks",
    "site_clocks",
    "steps",
    "timeline",
    "traces",
    "virtual_metrology",
    "wafer_maps",
    "wafer_risks",
    "wafers",
]

counters = Table(
    "console_counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Numbers given out in commit order: the row is locked until the transaction ends."""

changes = Table(
    "console_changes",
    metadata,
    Column("id", big_key, primary_key=True, autoincrement=False),
    Column("topic", String(16), nullable=False),
    Column("subject", String(200), nullable=False),
)
"""What browsers are told, in order; bounded."""

site_clocks = Table(
    "console_site_clocks",
    metadata,
    Column("site", String(32), primary_key=True),
    Column("fab_ms", BigInteger, nullable=False),
    Column("wall_ms", BigInteger, nullable=False),
)
"""The latest fab time seen, and the wall time it was seen at."""

wafers = Table(
    "console_wafers",
    metadata,
    *wafer_key(),
    Column("lot_id", String(200), nullable=False),
    Column("product", String(200), nullable=False, default=""),
    Column("slot", Integer, nullable=False, default=0),
    Column("fab_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Index("console_wafers_seen", "seen"),
    Index("console_wafers_time", "site", "fab_ms"),
    Index("console_wafers_lot", "lot_id"),
)

steps = Table(
    "console_steps",
    metadata,
    *wafer_key(),
    Column("sequence", Integer, primary_key=True),
    Column("step", String(100), nullable=False),
    Column("module", String(200), nullable=False),
    Column("recipe_id", String(200), nullable=False),
    Column("process_job_id", String(200), nullable=False),
    Column("started_ms", BigInteger),
    Column("completed_ms", BigInteger),
    Index("console_steps_module", "site", "module"),
)

wafer_maps = Table(
    "console_wafer_maps",
    metadata,
    *wafer_key(),
    Column("event_id", String(64), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("columns", Integer, nullable=False),
    Column("grid", LargeBinary, nullable=False),
    Column("good", Integer, nullable=False),
    Column("bad", Integer, nullable=False),
    Column("source", String(200), nullable=False),
    Index("console_wafer_maps_time", "site", "time_ms"),
)

predictions = Table(
    "console_predictions",
    metadata,
    *wafer_key(),
    Column("event_id", String(64), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("version_rank", Integer, nullable=False),
    Column("pattern", String(100), nullable=False),
    Column("predicted", Text, nullable=False),
    Column("probability", Float, nullable=False),
    Column("probabilities", Text, nullable=False),
    Column("heatmap_rows", Integer, nullable=False, default=0),
    Column("heatmap_columns", Integer, nullable=False, default=0),
    Column("heatmap", LargeBinary),
    Column("embedding", LargeBinary),
    Column("novelty", Float),
    Column("model", String(200), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("provider", String(64), nullable=False),
    Index("console_predictions_pattern", "pattern"),
)

metrology = Table(
    "console_metrology",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("substrate_id", String(200), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("step", String(100), nullable=False),
    Column("equipment_id", String(200), nullable=False),
    Column("parameter", String(100), nullable=False),
    Column("sites", Integer, nullable=False),
    Column("mean", Float, nullable=False),
    Column("low", Float, nullable=False),
    Column("high", Float, nullable=False),
    Index("console_metrology_wafer", "site", "substrate_id"),
)

review_images = Table(
    "console_review_images",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("substrate_id", String(200), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("step", String(100), nullable=False),
    Column("x_mm", Float, nullable=False),
    Column("y_mm", Float, nullable=False),
    Column("pixel_size_nm", Float, nullable=False),
    Column("png", LargeBinary, nullable=False),
    Index("console_review_images_wafer", "site", "substrate_id"),
    Index("console_review_images_time", "time_ms"),
)

modules = Table(
    "console_modules",
    metadata,
    Column("site", String(32), primary_key=True),
    Column("module", String(200), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("inhibited", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("event_id", String(64), nullable=False),
)

module_states = Table(
    "console_module_states",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("module", String(200), nullable=False),
    Column("state", String(32), nullable=False),
    Column("inhibited", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Index("console_module_states_module", "site", "module", "time_ms"),
)

traces = Table(
    "console_traces",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("module", String(200), nullable=False),
    Column("recipe_id", String(200), nullable=False),
    Column("step", String(100), nullable=False),
    Column("substrate_id", String(200), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("variables", Text, nullable=False),
    Column("sample_period_ms", Float, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    # JSON: [row, number] of where each recipe step begins; NULL where the trace does not say.
    Column("recipe_steps", Text),
    Index("console_traces_place", "site", "module", "recipe_id", "time_ms"),
    Index("console_traces_recipe", "site", "recipe_id", "step"),
)

alerts = Table(
    "console_alerts",
    metadata,
    Column("alert_id", String(200), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("pattern", String(100), nullable=False),
    Column("suspect_module", String(200), nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("at_risk", Integer, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("lock", Integer, nullable=False, default=0),
    Column("body", LargeBinary, nullable=False),
)

alert_states = Table(
    "console_alert_states",
    metadata,
    Column("alert_id", String(200), primary_key=True),
    Column("event_id", String(64), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("decision", String(16), nullable=False),
    Column("by", String(200), nullable=False),
    Column("comment", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)
"""The latest human decision per alert; apart from the alert, since either may arrive first."""

actions = Table(
    "console_actions",
    metadata,
    Column("action_id", String(200), primary_key=True),
    Column("alert_id", String(200), nullable=False, index=True),
    Column("site", String(32), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("event_id", String(64), nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

timeline = Table(
    "console_timeline",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("alert_id", String(200), nullable=False, index=True),
    Column("action_id", String(200), nullable=False),
    Column("what", String(64), nullable=False),
    Column("by", String(200), nullable=False),
    Column("comment", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("console_timeline_time", "time_ms"),
)

labels = Table(
    "console_labels",
    metadata,
    *wafer_key(),
    Column("event_id", String(64), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("patterns", Text, nullable=False),
    Column("by", String(200), nullable=False),
    Column("comment", Text, nullable=False),
)

dead_letters = Table(
    "console_dead_letters",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("site", String(32), nullable=False),
    Column("time_ms", BigInteger, nullable=False, index=True),
    Column("source_topic", String(200), nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("error", String(100), nullable=False),
    Column("reason", Text, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("topic", String(200), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("replayed_by", String(200), nullable=False, default=""),
)
"""`topic`, `partition` and `offset` say where the dead letter itself is, for replay."""

audit = Table(
    "console_audit",
    metadata,
    Column("id", big_key, primary_key=True, autoincrement=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("who", String(200), nullable=False),
    Column("what", String(64), nullable=False),
    Column("subject", String(200), nullable=False, index=True),
    Column("why", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("digest", String(64)),
)
"""Who decided what, when and why. Rows are added and never changed; the database refuses more.

Only `console.access.trail` adds them: `digest` covers the row and the digest before it."""


def create_tables(engine: Engine | Connection) -> None:
    """Make our tables, or bring those of an earlier release up to this one."""
    migrate(engine)
