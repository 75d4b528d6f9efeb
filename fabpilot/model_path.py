"""The file behind what a user calls a model."""

from pathlib import Path

from fabpilot.settings import Settings
from fabpilot.wiring import model_source

__all__ = ["model_path"]


def model_path(settings: Settings, model: str) -> Path:
    """The ONNX file itself, or that of `models:/NAME@ALIAS`, downloaded once.

    Raises:
        ConfigError: neither an existing file nor a model URI.
        RegistryError: the registry does not give it.
    """
    source = model_source(settings, model)
    return source.fetch(source.resolve())
