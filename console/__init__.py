"""The web application and JSON API for fab engineers, over the database and the log."""

from console.app import create_app
from console.deps import Check, ConsoleDeps, HealthReport, ModelInfo, Site
from console.server import ConsoleServer

__all__ = [
    "Check",
    "ConsoleDeps",
    "ConsoleServer",
    "HealthReport",
    "ModelInfo",
    "Site",
    "create_app",
]
