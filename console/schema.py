"""What the console's tables are made of: their metadata, and columns that several of them have."""

from sqlalchemy import BigInteger, Column, Integer, MetaData, String

__all__ = ["big_key", "metadata", "wafer_key"]

metadata = MetaData()

# SQLite gives row ids to INTEGER keys only; PostgreSQL needs BIGINT for millisecond times.
big_key = BigInteger().with_variant(Integer, "sqlite")


def wafer_key() -> tuple[Column[str], Column[str]]:
    """The two columns that name a wafer."""
    return Column("site", String(32), primary_key=True), Column(
        "substrate_id", String(200), primary_key=True
    )
