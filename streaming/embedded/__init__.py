"""A durable log in one SQLite file, for the processes of one machine. No network, no broker."""

from streaming.embedded.log import EmbeddedLog
from streaming.embedded.retention import Retention

__all__ = ["EmbeddedLog", "Retention"]
