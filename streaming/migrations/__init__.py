"""The history of our tables, as Alembic keeps it; docs/migrations.md says how to add to it."""
