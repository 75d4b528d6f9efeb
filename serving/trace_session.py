"""A model of traces, checked and ready to run."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from contracts.errors import ModelFileError
from contracts.trace_model import METADATA_KEY, TraceCard, decode_trace_card
from serving.device import Device, check_provider, providers
from serving.session import check_one_file, read_model, session_options

__all__ = ["TraceSession", "is_trace_model", "open_trace_session"]

# What another CPU or a GPU may change, relative to the spread of the golden outputs.
_GOLDEN_TOLERANCE = 0.01

FloatArray = npt.NDArray[np.float32]


class TraceSession:
    """A loaded trace model. Thread-safe.

    Attributes:
        card: what the file says about itself.
        sha256: digest of the file.
        provider: the ONNX Runtime provider that really runs it.
    """

    def __init__(self, session: ort.InferenceSession, card: TraceCard, sha256: str, provider: str):
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self.card = card
        self.sha256 = sha256
        self.provider = provider

    def run(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Score runs.

        Args:
            inputs: by name, (N, ...) float32, N at least 1.

        Returns:
            By name, (N, ...) float32.
        """
        given = self._session.run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, given, strict=True))


def is_trace_model(path: Path) -> bool:
    """Whether a model file is one of traces rather than of wafer maps.

    Raises:
        ModelFileError: it is no ONNX file.
    """
    model = check_one_file(path, read_model(path))
    return any(entry.key == METADATA_KEY for entry in model.metadata_props)


def open_trace_session(path: Path, device: Device, *, threads: int = 0) -> TraceSession:
    """Load a trace model, check it, and try it on its golden rows.

    Args:
        path: one self-contained ONNX file.
        device: where it shall run.
        threads: for one run on the CPU; 0 takes all cores.

    Raises:
        ModelFileError: the file is missing, damaged, of another kind, has external data, or does
            not give on its golden rows what it gave when it was exported.
        DeviceError: the device asked for is not the one we would get.
    """
    data = read_model(path)
    documents = [
        entry.value
        for entry in check_one_file(path, data).metadata_props
        if entry.key == METADATA_KEY
    ]
    if len(documents) != 1:
        raise ModelFileError(
            f"{path.name} is no trace model of fabpilot's: it has no {METADATA_KEY} metadata;"
            " make one with 'fabpilot train trace'"
        )
    card = decode_trace_card(documents[0])
    try:
        session = ort.InferenceSession(data, session_options(threads), providers=providers(device))
    except Exception as error:  # ONNX Runtime raises its own types, of no common base
        raise ModelFileError(f"{path.name}: ONNX Runtime cannot load it: {error}") from error
    provider = check_provider(device, session.get_providers())
    loaded = TraceSession(session, card, hashlib.sha256(data).hexdigest(), provider)
    _check_golden(path, loaded)
    return loaded


def _check_golden(path: Path, session: TraceSession) -> None:
    card = session.card
    try:
        outputs = session.run({name: array.numpy() for name, array in card.golden_inputs.items()})
    except Exception as error:
        raise ModelFileError(f"{path.name}: it fails on its golden rows: {error}") from error
    for name, array in card.golden_outputs.items():
        expected = array.numpy()
        if name not in outputs or outputs[name].shape != expected.shape:
            raise ModelFileError(f"{path.name}: it does not return {name} {expected.shape}")
        allowed = _GOLDEN_TOLERANCE * max(float(np.std(expected)), 1e-3)
        worst = float(np.max(np.abs(outputs[name] - expected)))
        # A NaN compares false with everything; ask for what must hold.
        if not worst <= allowed:
            raise ModelFileError(
                f"{path.name}: on its golden rows {name} is off by {worst:.3g}"
                f" (at most {allowed:.3g} may come from other hardware)"
            )
