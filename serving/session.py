"""One model file, checked and ready to run."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError

from contracts.errors import ModelFileError
from contracts.model_file import (
    INPUT_NAME,
    MAX_MODEL_BYTES,
    METADATA_KEY,
    NOVELTY_NAME,
    OUTPUT_NAMES,
    ModelCard,
    decode_card,
)
from serving.device import Device, check_provider, providers

__all__ = [
    "Outputs",
    "Session",
    "check_digest",
    "check_one_file",
    "open_session",
    "read_model",
    "start_session",
]

# What other kernels (another CPU, TF32 on a GPU) may change in a probability. A model that was
# damaged or is another one altogether is off by far more.
_GOLDEN_TOLERANCE = 0.02

FloatArray = npt.NDArray[np.float32]


class Outputs(NamedTuple):
    """What the model says about N maps: (N, C), (N, D), (N, h, w) and (N,), all float32.

    `novelty` is None for a file that was made before there was one.
    """

    probabilities: FloatArray
    embedding: FloatArray
    heatmap: FloatArray
    novelty: FloatArray | None


class Session:
    """A loaded model. Thread-safe: ONNX Runtime sessions may be run from several threads.

    Attributes:
        card: what the file says about itself.
        sha256: digest of the file.
        provider: the ONNX Runtime provider that really runs it.
    """

    def __init__(self, session: ort.InferenceSession, card: ModelCard, sha256: str, provider: str):
        self._session = session
        self._novel = any(output.name == NOVELTY_NAME for output in session.get_outputs())
        self.card = card
        self.sha256 = sha256
        self.provider = provider

    @property
    def answers(self) -> tuple[str, ...]:
        """The patterns it names."""
        return self.card.labels

    def run(self, maps: npt.NDArray[np.uint8]) -> Outputs:
        """Score canonical maps.

        Args:
            maps: (N, S, S) uint8, N at least 1, S the card's canonical size.
        """
        names = [*OUTPUT_NAMES, NOVELTY_NAME] if self._novel else list(OUTPUT_NAMES)
        given = self._session.run(names, {INPUT_NAME: maps})
        return Outputs(given[0], given[1], given[2], given[3] if self._novel else None)


def open_session(
    path: Path, device: Device, *, threads: int = 0, sha256: str | None = None
) -> Session:
    """Load a model file, check it, and try it on its own golden batch.

    Args:
        path: one self-contained ONNX file.
        device: where it shall run.
        threads: for one run on the CPU; 0 takes all cores.
        sha256: what the file's digest must be, if known.

    Raises:
        ModelFileError: the file is missing, damaged, another one than expected, has external data,
            or does not give on its golden batch what it gave when it was exported.
        DeviceError: the device asked for is not the one we would get.
    """
    data = read_model(path)
    digest = check_digest(path, data, sha256)
    card = _card(path, data)
    session, provider = start_session(path, data, device, threads)
    _check_signature(path, session, card)
    loaded = Session(session, card, digest, provider)
    _check_golden(path, loaded)
    return loaded


def start_session(
    path: Path, data: bytes, device: Device, threads: int
) -> tuple[ort.InferenceSession, str]:
    """A session of ONNX Runtime on a model file, and the provider that really runs it.

    Args:
        path: for messages alone.
        data: the file's bytes, already checked.
        device: where it shall run.
        threads: for one run on the CPU; 0 takes all cores.

    Raises:
        ModelFileError: ONNX Runtime cannot load it.
        DeviceError: the device asked for is not the one we would get.
    """
    wanted = providers(device)
    try:
        session = ort.InferenceSession(data, _session_options(threads), providers=wanted)
    except Exception as error:  # ONNX Runtime raises its own types, of no common base
        raise ModelFileError(f"{path.name}: ONNX Runtime cannot load it: {error}") from error
    return session, check_provider(device, session.get_providers())


def check_digest(path: Path, data: bytes, sha256: str | None) -> str:
    """The SHA-256 (hex) of a file's bytes.

    Raises:
        ModelFileError: it is not the one that is known of it.
    """
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ModelFileError(
            f"{path.name} has sha256 {digest[:12]}…, the registry says {sha256[:12]}…:"
            " the file was changed or cut off after it was registered"
        )
    return digest


def read_model(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelFileError: it cannot be read, or is larger than any model of ours.
    """
    try:
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise ModelFileError(f"{path.name} has {size} bytes; a model file has fewer than 1 GiB")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read model file {path}: {error.strerror}") from error


def check_one_file(path: Path, data: bytes) -> onnx.ModelProto:
    """The model, if it is ONNX and whole in this one file.

    Raises:
        ModelFileError: it is not.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelFileError(f"{path.name} is not an ONNX file, or was cut off") from error
    # ONNX Runtime would look for side files in the working directory: never.
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in _tensors(model.graph)):
        raise ModelFileError(f"{path.name} keeps its weights in another file; export it as one")
    if model.functions:
        raise ModelFileError(f"{path.name} defines functions of its own, which ours never do")
    return model


def _card(path: Path, data: bytes) -> ModelCard:
    """The model's card; refuses what is not ONNX or not in one file."""
    model = check_one_file(path, data)
    documents = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if len(documents) != 1:
        raise ModelFileError(
            f"{path.name} is an ONNX file but not one of fabpilot's: it has no {METADATA_KEY}"
            " metadata; make one with 'fabpilot train'"
        )
    return decode_card(documents[0])


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor a graph holds: weights, constants, and those of the graphs inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (a for node in graph.node for a in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        for inner in (attribute.g, *attribute.graphs):
            if inner.node or inner.initializer:
                yield from _tensors(inner)


def _session_options(threads: int) -> ort.SessionOptions:
    """How ONNX Runtime runs our models."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    # Spinning workers take the cores from the processes beside us.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _check_signature(path: Path, session: ort.InferenceSession, card: ModelCard) -> None:
    inputs = session.get_inputs()
    size = card.canonical_size
    if (
        len(inputs) != 1
        or inputs[0].name != INPUT_NAME
        or inputs[0].type != "tensor(uint8)"
        or list(inputs[0].shape[1:]) != [size, size]
    ):
        seen = [(i.name, i.type, i.shape) for i in inputs]
        raise ModelFileError(f"{path.name} takes {seen}, not maps uint8 (N, {size}, {size})")
    names = {output.name for output in session.get_outputs()}
    if missing := set(OUTPUT_NAMES) - names:
        raise ModelFileError(f"{path.name} does not return {', '.join(sorted(missing))}")


def _check_golden(path: Path, session: Session) -> None:
    """Warm the session up on its golden batch and compare."""
    maps = session.card.golden_maps.numpy()
    if len(maps) == 0:
        raise ModelFileError(f"{path.name} has no golden batch to try it on")
    expected = session.card.golden_probabilities.numpy()
    try:
        outputs = session.run(maps)
    except Exception as error:
        raise ModelFileError(f"{path.name}: it fails on its golden batch: {error}") from error
    got = outputs.probabilities
    if got.shape != expected.shape or outputs.heatmap.ndim != 3 or outputs.embedding.ndim != 2:
        raise ModelFileError(f"{path.name}: outputs of another shape than the card's labels need")
    worst = float(np.max(np.abs(got - expected)))
    # A NaN compares false with everything; ask for what must hold.
    if not worst <= _GOLDEN_TOLERANCE:
        raise ModelFileError(
            f"{path.name}: on its golden batch probabilities are off by {worst:.3f}"
            f" (at most {_GOLDEN_TOLERANCE} may come from other hardware)"
        )
