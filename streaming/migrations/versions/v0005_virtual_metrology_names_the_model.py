"""Virtual metrology names the registered model that foretold; the controller's own has none."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """A column that may be empty."""
    op.add_column("console_virtual_metrology", sa.Column("model", sa.String(length=200)))
