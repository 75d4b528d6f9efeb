"""The console's first tables, and the columns they got before there were steps."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Columns that came to a table while tables were only made, never changed. A row that is there keeps
# what it has; `replayed_by` says nobody, as the console writes it.
_LATER = (
    (
        "console_dead_letters",
        sa.Column("replayed_by", sa.String(200), nullable=False, server_default=""),
    ),
    ("console_predictions", sa.Column("novelty", sa.Float())),
    ("console_audit", sa.Column("digest", sa.String(64))),
)

_REFUSE = "the audit trail is append-only"


def upgrade() -> None:
    """The console's first tables, and the columns they got before there were steps."""
    _make_tables()
    _add_columns()
    _keep_the_trail()


def _add_columns() -> None:
    here = sa.inspect(op.get_bind())
    for table, column in _LATER:
        if column.name not in {one["name"] for one in here.get_columns(table)}:
            op.add_column(table, column)


def _keep_the_trail() -> None:
    """Rows of the audit trail are added and never changed; the database refuses more."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION console_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION '{_REFUSE}'"
            " USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        op.execute("DROP TRIGGER IF EXISTS console_audit_fixed ON console_audit")
        op.execute(
            "CREATE TRIGGER console_audit_fixed BEFORE UPDATE OR DELETE ON console_audit"
            " FOR EACH ROW EXECUTE FUNCTION console_audit_refuse()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER IF NOT EXISTS console_audit_no_{verb.lower()} BEFORE {verb}"
            f" ON console_audit BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
        )


def _make_tables() -> None:
    op.create_table(
        "console_counters",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )
    op.create_table(
        "console_changes",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("topic", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_table(
        "console_site_clocks",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("fab_ms", sa.BigInteger(), nullable=False),
        sa.Column("wall_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site"),
        if_not_exists=True,
    )
    op.create_table(
        "console_wafers",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("lot_id", sa.String(length=200), nullable=False),
        sa.Column("product", sa.String(length=200), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("fab_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "substrate_id"),
        if_not_exists=True,
    )
    op.create_index("console_wafers_lot", "console_wafers", ["lot_id"], if_not_exists=True)
    op.create_index("console_wafers_seen", "console_wafers", ["seen"], if_not_exists=True)
    op.create_index("console_wafers_time", "console_wafers", ["site", "fab_ms"], if_not_exists=True)
    op.create_table(
        "console_steps",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("module", sa.String(length=200), nullable=False),
        sa.Column("recipe_id", sa.String(length=200), nullable=False),
        sa.Column("process_job_id", sa.String(length=200), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=True),
        sa.Column("completed_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("site", "substrate_id", "sequence"),
        if_not_exists=True,
    )
    op.create_index("console_steps_module", "console_steps", ["site", "module"], if_not_exists=True)
    op.create_table(
        "console_wafer_maps",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("columns", sa.Integer(), nullable=False),
        sa.Column("grid", sa.LargeBinary(), nullable=False),
        sa.Column("good", sa.Integer(), nullable=False),
        sa.Column("bad", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("site", "substrate_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_wafer_maps_time", "console_wafer_maps", ["site", "time_ms"], if_not_exists=True
    )
    op.create_table(
        "console_predictions",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("version_rank", sa.Integer(), nullable=False),
        sa.Column("pattern", sa.String(length=100), nullable=False),
        sa.Column("predicted", sa.Text(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("probabilities", sa.Text(), nullable=False),
        sa.Column("heatmap_rows", sa.Integer(), nullable=False),
        sa.Column("heatmap_columns", sa.Integer(), nullable=False),
        sa.Column("heatmap", sa.LargeBinary(), nullable=True),
        sa.Column("embedding", sa.LargeBinary(), nullable=True),
        sa.Column("novelty", sa.Float(), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("site", "substrate_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_predictions_pattern", "console_predictions", ["pattern"], if_not_exists=True
    )
    op.create_table(
        "console_metrology",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("equipment_id", sa.String(length=200), nullable=False),
        sa.Column("parameter", sa.String(length=100), nullable=False),
        sa.Column("sites", sa.Integer(), nullable=False),
        sa.Column("mean", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_metrology_wafer", "console_metrology", ["site", "substrate_id"], if_not_exists=True
    )
    op.create_table(
        "console_review_images",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("x_mm", sa.Float(), nullable=False),
        sa.Column("y_mm", sa.Float(), nullable=False),
        sa.Column("pixel_size_nm", sa.Float(), nullable=False),
        sa.Column("png", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_review_images_time", "console_review_images", ["time_ms"], if_not_exists=True
    )
    op.create_index(
        "console_review_images_wafer",
        "console_review_images",
        ["site", "substrate_id"],
        if_not_exists=True,
    )
    op.create_table(
        "console_modules",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("module", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("inhibited", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("site", "module"),
        if_not_exists=True,
    )
    op.create_table(
        "console_module_states",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("module", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("inhibited", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_module_states_module",
        "console_module_states",
        ["site", "module", "time_ms"],
        if_not_exists=True,
    )
    op.create_table(
        "console_traces",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("module", sa.String(length=200), nullable=False),
        sa.Column("recipe_id", sa.String(length=200), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("variables", sa.Text(), nullable=False),
        sa.Column("sample_period_ms", sa.Float(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_traces_place",
        "console_traces",
        ["site", "module", "recipe_id", "time_ms"],
        if_not_exists=True,
    )
    op.create_index(
        "console_traces_recipe", "console_traces", ["site", "recipe_id", "step"], if_not_exists=True
    )
    op.create_table(
        "console_alerts",
        sa.Column("alert_id", sa.String(length=200), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("pattern", sa.String(length=100), nullable=False),
        sa.Column("suspect_module", sa.String(length=200), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("at_risk", sa.Integer(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("lock", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id"),
        if_not_exists=True,
    )
    op.create_table(
        "console_alert_states",
        sa.Column("alert_id", sa.String(length=200), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id"),
        if_not_exists=True,
    )
    op.create_table(
        "console_actions",
        sa.Column("action_id", sa.String(length=200), nullable=False),
        sa.Column("alert_id", sa.String(length=200), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("action_id"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_console_actions_alert_id", "console_actions", ["alert_id"], if_not_exists=True
    )
    op.create_table(
        "console_timeline",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("alert_id", sa.String(length=200), nullable=False),
        sa.Column("action_id", sa.String(length=200), nullable=False),
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        if_not_exists=True,
    )
    op.create_index("console_timeline_time", "console_timeline", ["time_ms"], if_not_exists=True)
    op.create_index(
        "ix_console_timeline_alert_id", "console_timeline", ["alert_id"], if_not_exists=True
    )
    op.create_table(
        "console_labels",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("patterns", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "substrate_id"),
        if_not_exists=True,
    )
    op.create_table(
        "console_dead_letters",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("source_topic", sa.String(length=200), nullable=False),
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("source_offset", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("stage", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.String(length=200), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("replayed_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_console_dead_letters_time_ms", "console_dead_letters", ["time_ms"], if_not_exists=True
    )
    op.create_table(
        "console_audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("ix_console_audit_subject", "console_audit", ["subject"], if_not_exists=True)
