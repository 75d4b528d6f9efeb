"""Export: one self-contained ONNX file, checked against torch before anybody may use it."""

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from torch.jit._trace import TracerWarning

from contracts.arrays import Array
from contracts.errors import ModelFileError
from contracts.model_file import (
    INPUT_NAME,
    METADATA_KEY,
    NOVELTY_NAME,
    OUTPUT_NAMES,
    ModelCard,
    Reference,
    encode_card,
)
from models.networks import WaferMapNet

__all__ = ["OPSET", "PARITY_LIMIT", "build_card", "check_parity", "export_model", "reference_of"]

OPSET = 17
_GIVEN = (*OUTPUT_NAMES, NOVELTY_NAME)
# float32 sums in another order differ by about 1e-6; ten times more than a hundred of those.
PARITY_LIMIT = 1e-4
_PARITY_BATCHES = (1, 3, 17)
_GOLDEN_MAPS = 8
_REFERENCE_BATCH = 256


def build_card(
    net: WaferMapNet,
    *,
    labels: tuple[str, ...],
    thresholds: tuple[float, ...],
    size: int,
    examples: npt.NDArray[np.uint8],
    data_fingerprint: str,
    metrics: dict[str, float],
    code_version: str,
    name: str = "wafer-map",
    reference: Reference | None = None,
) -> ModelCard:
    """The card of a network, with what it says about a few examples as its golden batch.

    Args:
        net: trained and calibrated.
        labels: the C classes in the order of its probabilities.
        thresholds: (C,).
        size: S.
        examples: (N, S, S) uint8; up to eight, evenly spread over these, become the golden maps.
        data_fingerprint: of the training data and split.
        metrics: measured on held-out maps.
        code_version: of fabpilot.
        name: the registered name.
        reference: from `reference_of`.
    """
    rows = np.unique(np.linspace(0, len(examples) - 1, _GOLDEN_MAPS).astype(np.int64))
    golden = np.ascontiguousarray(examples[rows])
    with torch.inference_mode():
        probabilities = net.eval()(torch.from_numpy(golden)).probabilities.numpy()
    stride = "x".join(str(side) for side in _heatmap_shape(net, size))
    return ModelCard(
        name=name,
        architecture=f"{net.backbone_name}, 3 channels, {net.views} views, heatmap {stride}",
        labels=labels,
        multi_label=net.multi_label,
        thresholds=thresholds,
        canonical_size=size,
        data_fingerprint=data_fingerprint,
        metrics=metrics,
        code_version=code_version,
        golden_maps=Array.of(golden),
        golden_probabilities=Array.of(probabilities),
        reference=reference,
    )


def reference_of(net: WaferMapNet, maps: npt.NDArray[np.uint8]) -> Reference:
    """What known wafers look like to a network, for whoever watches for drift.

    Args:
        net: trained and calibrated.
        maps: (N, S, S) uint8, of the population that it will serve.
    """
    embeddings, probabilities = [], []
    with torch.inference_mode():
        for part in torch.split(torch.from_numpy(maps), _REFERENCE_BATCH):
            outputs = net.eval()(part)
            embeddings.append(outputs.embedding)
            probabilities.append(outputs.probabilities)
    embedding = torch.cat(embeddings)
    return Reference(
        embedding_mean=Array.of(embedding.mean(dim=0).numpy()),
        embedding_scale=Array.of(embedding.std(dim=0).numpy()),
        class_shares=Array.of(torch.cat(probabilities).mean(dim=0).numpy()),
    )


def export_model(net: WaferMapNet, card: ModelCard, path: Path) -> None:
    """Write the network and its card as one ONNX file, if both say the same.

    The file appears under its name only after the check: first beside it, then renamed.

    Args:
        net: trained and calibrated.
        card: from `build_card`.
        path: of the file; its folder is made if it is missing.

    Raises:
        ModelFileError: ONNX Runtime and torch disagree. Nothing is written.
    """
    model = onnx.load_from_string(_graph(net, card.canonical_size))
    model.metadata_props.add(key=METADATA_KEY, value=encode_card(card))
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    check_parity(net, content, card.golden_maps.numpy())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def check_parity(net: WaferMapNet, content: bytes, maps: npt.NDArray[np.uint8]) -> float:
    """The largest difference in probability between torch and ONNX Runtime on the CPU.

    A tenth of the largest in novelty counts too.

    Args:
        net: in evaluation mode.
        content: the ONNX file.
        maps: (G, S, S) uint8; repeated to batches of 1, 3 and 17.

    Raises:
        ModelFileError: it exceeds `PARITY_LIMIT`, or a heatmap leaves 0..1.
    """
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in _PARITY_BATCHES:
        some = np.take(maps, np.arange(batch), axis=0, mode="wrap")
        theirs = session.run(list(_GIVEN), {INPUT_NAME: some})
        with torch.inference_mode():
            ours = [output.numpy() for output in net.eval()(torch.from_numpy(some))]
        for name, left, right in zip(_GIVEN, ours, theirs, strict=True):
            if left.shape != right.shape:
                raise ModelFileError(
                    f"{name} has shape {right.shape} in ONNX Runtime, {left.shape} in torch"
                )
        # Novelty is squeezed into 0..2 out of distances that may be large: a tenth is enough.
        novel = float(np.abs(ours[3] - theirs[3]).max()) / 10.0
        worst = max(worst, float(np.abs(ours[0] - theirs[0]).max()), novel)
        if not (worst <= PARITY_LIMIT and theirs[2].min() >= 0.0 and theirs[2].max() <= 1.0):
            raise ModelFileError(
                f"the exported graph differs from the network by {worst:.2g} at batch {batch}"
                f" (at most {PARITY_LIMIT:g} is allowed); try another backbone or opset"
            )
    return worst


def _graph(net: WaferMapNet, size: int) -> bytes:
    """The bare ONNX graph.

    The tracing exporter: it folds batch norm into convolutions, runs in a second or two, and gives
    one batch dimension with no guards, where the newer one takes ten times as long.
    """
    buffer = io.BytesIO()
    example = torch.randint(0, 256, (2, size, size), dtype=torch.uint8)
    names = (INPUT_NAME, *_GIVEN)
    with warnings.catch_warnings():
        # Each export would say that the tracing exporter is the older of the two; we chose it.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        torch.onnx.export(
            net.eval(),
            (example,),
            buffer,  # type: ignore[arg-type]
            input_names=[INPUT_NAME],
            output_names=list(_GIVEN),
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=OPSET,
            dynamo=False,
            external_data=False,
        )
    return buffer.getvalue()


@torch.inference_mode()
def _heatmap_shape(net: WaferMapNet, size: int) -> tuple[int, ...]:
    example = torch.zeros(1, size, size, dtype=torch.uint8)
    return tuple(net.eval()(example).heatmap.shape[1:])
