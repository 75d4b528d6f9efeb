"""A model of traces, checked and ready to run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from contracts.errors import ModelFileError
from contracts.trace_model import METADATA_KEY, Task, TraceCard, decode_trace_card
from serving.device import Device
from serving.session import check_digest, check_one_file, read_model, start_session

__all__ = ["TraceSession", "is_trace_model", "open_trace_session", "trace_task"]

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
    return bool(_cards(path, read_model(path)))


def trace_task(path: Path) -> Task | None:
    """What a model file answers about traces; None for one of wafer maps.

    Raises:
        ModelFileError: it is no ONNX file, or its card is none of ours.
    """
    cards = _cards(path, read_model(path))
    return decode_trace_card(cards[0]).task if cards else None


def _cards(path: Path, data: bytes) -> list[str]:
    model = check_one_file(path, data)
    return [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]


def open_trace_session(
    path: Path, device: Device, *, threads: int = 0, sha256: str | None = None
) -> TraceSession:
    """Load a trace model, check it, and try it on its golden rows.

    Args:
        path: one self-contained ONNX file.
        device: where it shall run.
        threads: for one run on the CPU; 0 takes all cores.
        sha256: what the file's digest must be, if known.

    Raises:
        ModelFileError: the file is missing, damaged, another one than expected or of another kind,
            has external data, or does not give on its golden rows what it gave when it was
            exported.
        DeviceError: the device asked for is not the one we would get.
    """
    data = read_model(path)
    digest = check_digest(path, data, sha256)
    documents = _cards(path, data)
    if len(documents) != 1:
        raise ModelFileError(
            f"{path.name} is not a trace model of fabpilot: it has no {METADATA_KEY} metadata;"
            " make one with 'fabpilot train trace'"
        )
    card = decode_trace_card(documents[0])
    session, provider = start_session(path, data, device, threads)
    loaded = TraceSession(session, card, digest, provider)
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
