"""Drafts the next step of streaming/migrations from the tables as declared: docs/migrations.md.

python -m tests.make_migration "predictions carry a grade"
"""

import re
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import streaming.migrate
from streaming.database import open_engine
from streaming.migrate import migrate, steps

FOLDER = Path(streaming.migrate.__file__).parent / "migrations"

# Every module that declares tables of ours, and the name of their metadata in it.
_TABLES = (
    ("console.access.tables", "metadata"),
    ("fabpilot.controller", "_metadata"),
    ("streaming.lease", "metadata"),
    ("streaming.offsets", "metadata"),
)


def declared() -> list[sa.MetaData]:
    """The tables as the code has them."""
    found = {id(one): one for one in (getattr(import_module(m), n) for m, n in _TABLES)}
    return list(found.values())


def draft(message: str, number: str) -> Path:
    """Write the step that leads from the last one to the tables as declared."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    words = re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")
    config.set_main_option("file_template", f"v{number}_{words[:40]}")
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/empty.db")
        with engine.begin() as connection:
            if steps():
                migrate(connection)
            config.attributes["connection"] = connection
            config.attributes["target_metadata"] = declared()
            made = command.revision(config, message, autogenerate=True, rev_id=number)
        engine.dispose()
    assert made is not None
    assert not isinstance(made, list)
    return Path(made.path)


if __name__ == "__main__":
    print(draft(sys.argv[1], f"{len(steps()) + 1:04}"))
