"""Traces say where their recipe steps begin; those that are there say nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """A column that may be empty."""
    op.add_column("console_traces", sa.Column("recipe_steps", sa.Text()))
