"""Tables of accounts, sessions and tokens. Secrets are kept as hashes only."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from console.tables import metadata

__all__ = ["accounts", "sessions", "tokens"]

accounts = Table(
    "console_accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password", String(200), nullable=False),
    Column("subject", String(400), nullable=False, default=""),
    Column("disabled", Integer, nullable=False, default=0),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)
"""`password` is an argon2id hash, or '' for who signs in elsewhere: `subject` then says where."""

sessions = Table(
    "console_sessions",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("account", String(64), nullable=False, index=True),
    Column("address", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Index("console_sessions_seen", "seen_ms"),
)

tokens = Table(
    "console_tokens",
    metadata,
    Column("token_id", String(16), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("account", String(64), nullable=False, index=True),
    Column("purpose", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger, nullable=False, default=0),
)
