"""What Alembic runs: the steps, within the transaction that `streaming.migrate` has begun.

Two attributes of the configuration come from there (or from `tests.make_migration`): `connection`,
and `target_metadata` if tables are to be compared.
"""

from alembic import context

from streaming.migrate import VERSION_TABLE

_attributes = context.config.attributes
context.configure(
    connection=_attributes["connection"],
    target_metadata=_attributes.get("target_metadata"),
    version_table=VERSION_TABLE,
    # SQLite can do DDL in a transaction, if the driver begins none of its own: see open_engine.
    transactional_ddl=True,
    # SQLite cannot change a column: Alembic's batches copy the table there.
    render_as_batch=True,
)
context.run_migrations()
