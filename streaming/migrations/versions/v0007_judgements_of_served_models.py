"""What registered models of faults and of risk said of each trace."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """A table of its own."""
    op.create_table(
        "console_judgements",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("module", sa.String(length=200), nullable=False),
        sa.Column("recipe_id", sa.String(length=200), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("lot_id", sa.String(length=200), nullable=False),
        sa.Column("substrate_id", sa.String(length=200), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Float()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("contributions", sa.Text(), nullable=False),
        sa.Column("troubles", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("model_version", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("console_judgements_wafer", "console_judgements", ["site", "substrate_id"])
    op.create_index("console_judgements_lot", "console_judgements", ["site", "lot_id", "task"])
    op.create_index("console_judgements_time", "console_judgements", ["time_ms"])
