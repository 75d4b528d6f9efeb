"""The console's tables of what steers the process."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """The console's tables of what steers the process."""
    op.create_table(
        "console_risks",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("lot_id", sa.String(length=200), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("any_pattern", sa.Float(), nullable=False),
        sa.Column("expected_loss", sa.Float(), nullable=False),
        sa.Column("pattern", sa.String(length=100), nullable=False),
        sa.Column("probabilities", sa.Text(), nullable=False),
        sa.Column("suspects", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "substrate_id", "sequence"),
        if_not_exists=True,
    )
    op.create_index(
        "console_risks_lot", "console_risks", ["site", "lot_id", "sequence"], if_not_exists=True
    )
    op.create_index("console_risks_time", "console_risks", ["site", "time_ms"], if_not_exists=True)
    op.create_table(
        "console_wafer_risks",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("lot_id", sa.String(length=200), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("any_pattern", sa.Float(), nullable=False),
        sa.Column("expected_loss", sa.Float(), nullable=False),
        sa.Column("pattern", sa.String(length=100), nullable=False),
        sa.Column("probabilities", sa.Text(), nullable=False),
        sa.Column("suspects", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "substrate_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_wafer_risks_lot", "console_wafer_risks", ["site", "lot_id"], if_not_exists=True
    )
    op.create_table(
        "console_charts",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("chart_id", sa.String(length=200), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("chart", sa.String(length=32), nullable=False),
        sa.Column("module", sa.String(length=200), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("recipe_id", sa.String(length=200), nullable=False),
        sa.Column("parameter", sa.String(length=200), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("center", sa.Float(), nullable=False),
        sa.Column("lower", sa.Float(), nullable=True),
        sa.Column("upper", sa.Float(), nullable=True),
        sa.Column("sigma", sa.Float(), nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("contributions", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Text(), nullable=False),
        sa.Column("arl0", sa.Float(), nullable=True),
        sa.Column("arl1", sa.Float(), nullable=True),
        sa.Column("cp", sa.Float(), nullable=True),
        sa.Column("cpk", sa.Float(), nullable=True),
        sa.Column("cpk_low", sa.Float(), nullable=True),
        sa.Column("cpk_high", sa.Float(), nullable=True),
        sa.Column("out_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "chart_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_charts_module", "console_charts", ["site", "module"], if_not_exists=True
    )
    op.create_index("console_charts_time", "console_charts", ["time_ms"], if_not_exists=True)
    op.create_table(
        "console_chart_points",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("chart_id", sa.String(length=200), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("center", sa.Float(), nullable=False),
        sa.Column("lower", sa.Float(), nullable=True),
        sa.Column("upper", sa.Float(), nullable=True),
        sa.Column("sigma", sa.Float(), nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("contributions", sa.Text(), nullable=False),
        sa.Column("lot_id", sa.String(length=200), nullable=False),
        sa.Column("substrates", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_chart_points_chart",
        "console_chart_points",
        ["site", "chart_id", "time_ms", "event_id"],
        if_not_exists=True,
    )
    op.create_index(
        "console_chart_points_time", "console_chart_points", ["time_ms"], if_not_exists=True
    )
    op.create_table(
        "console_virtual_metrology",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("module", sa.String(length=200), nullable=False),
        sa.Column("recipe_id", sa.String(length=200), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("parameter", sa.String(length=100), nullable=False),
        sa.Column("lot_id", sa.String(length=200), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("predicted", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("coverage", sa.Float(), nullable=False),
        sa.Column("unlike", sa.Integer(), nullable=False),
        sa.Column("learned", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_virtual_place",
        "console_virtual_metrology",
        ["site", "module", "step", "parameter", "time_ms"],
        if_not_exists=True,
    )
    op.create_index(
        "console_virtual_time", "console_virtual_metrology", ["time_ms"], if_not_exists=True
    )
    op.create_index(
        "console_virtual_wafer",
        "console_virtual_metrology",
        ["site", "substrate_id"],
        if_not_exists=True,
    )
    op.create_table(
        "console_r2r_threads",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("thread", sa.String(length=600), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("product", sa.String(length=200), nullable=False),
        sa.Column("module", sa.String(length=200), nullable=False),
        sa.Column("recipe_id", sa.String(length=200), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("output", sa.String(length=100), nullable=False),
        sa.Column("parameter", sa.String(length=100), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.Float(), nullable=False),
        sa.Column("measured", sa.Float(), nullable=False),
        sa.Column("virtual", sa.Integer(), nullable=False),
        sa.Column("disturbance", sa.Float(), nullable=False),
        sa.Column("drift", sa.Float(), nullable=False),
        sa.Column("set_point", sa.Float(), nullable=False),
        sa.Column("recommended", sa.Float(), nullable=False),
        sa.Column("gain", sa.Float(), nullable=False),
        sa.Column("gain_ratio", sa.Float(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "thread"),
        if_not_exists=True,
    )
    op.create_index(
        "console_r2r_threads_time", "console_r2r_threads", ["time_ms"], if_not_exists=True
    )
    op.create_table(
        "console_r2r_runs",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("thread", sa.String(length=600), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.Float(), nullable=False),
        sa.Column("measured", sa.Float(), nullable=False),
        sa.Column("virtual", sa.Integer(), nullable=False),
        sa.Column("disturbance", sa.Float(), nullable=False),
        sa.Column("drift", sa.Float(), nullable=False),
        sa.Column("set_point", sa.Float(), nullable=False),
        sa.Column("recommended", sa.Float(), nullable=False),
        sa.Column("gain", sa.Float(), nullable=False),
        sa.Column("gain_ratio", sa.Float(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        if_not_exists=True,
    )
    op.create_index(
        "console_r2r_runs_thread",
        "console_r2r_runs",
        ["site", "thread", "time_ms", "event_id"],
        if_not_exists=True,
    )
    op.create_index("console_r2r_runs_time", "console_r2r_runs", ["time_ms"], if_not_exists=True)
    op.create_table(
        "console_effects",
        sa.Column("action_id", sa.String(length=200), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("before", sa.Float(), nullable=False),
        sa.Column("after", sa.Float(), nullable=False),
        sa.Column("wafers", sa.Integer(), nullable=False),
        sa.Column("consequence", sa.String(length=16), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("action_id"),
        if_not_exists=True,
    )
    op.create_table(
        "console_automation",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("automatic", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("site"),
        if_not_exists=True,
    )
