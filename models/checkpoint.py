"""Where a training run stands, on disk: a killed run goes on from the end of its last epoch."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from contracts.errors import DatasetError

__all__ = ["CheckpointFile", "run_key"]


def run_key(*facts: object) -> str:
    """What makes two runs the same one (32 hex digits): options, data, code.

    Args:
        facts: anything with a faithful `repr`.
    """
    return hashlib.sha256(json.dumps([repr(fact) for fact in facts]).encode()).hexdigest()[:32]


class CheckpointFile:
    """One run's checkpoint. Written beside itself and renamed, so it is whole or absent.

    Args:
        folder: made if it is missing.
        key: from `run_key`; names the file.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / f"{key}.pt"

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was there.

        Args:
            state: tensors, numbers, text, and lists and dictionaries of those.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        written = self._path.with_suffix(f".{os.getpid()}.part")
        torch.save(state, written)
        written.replace(self._path)

    def load(self) -> dict[str, Any] | None:
        """What was saved last, or None. No code in it is ever run (`weights_only`).

        Raises:
            DatasetError: the file is damaged.
        """
        try:
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # torch raises what its zip reader and unpickler raise
            raise DatasetError(
                f"the checkpoint {self._path} is damaged ({type(error).__name__}):"
                " remove it and train again"
            ) from error
        return state

    def clear(self) -> None:
        """Remove it: the run is over."""
        self._path.unlink(missing_ok=True)
