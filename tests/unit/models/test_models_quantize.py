from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from contracts.errors import ModelFileError
from contracts.model_file import INPUT_NAME, OUTPUT_NAMES, ModelCard
from models.data import MapSet
from models.evaluate import EvaluationReport
from models.export import build_card, export_model
from models.networks import WaferMapNet
from models.quantize import (
    MOST_POINTS_LOST,
    Int8Loss,
    is_int8,
    judge_file,
    quantize,
    read_card,
    with_card,
)
from serving.device import Device
from serving.session import open_session
from tests.model_files import write_model

LABELS = ("None", "Center", "Edge-Ring", "Scratch")
Drawn = Callable[[int, int], MapSet]


@pytest.fixture(scope="module")
def maps(drawn: Drawn) -> MapSet:
    return drawn(12, 3)


@pytest.fixture(scope="module")
def float32(maps: MapSet, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a network whose batch norms have seen maps."""
    torch.manual_seed(0)
    net = WaferMapNet("mapnet_xs", len(LABELS), none_index=0)
    canonical = maps.canonical(64)
    with torch.no_grad():
        for _ in range(20):
            net.logits(torch.from_numpy(canonical[:32]))
    card = build_card(
        net.eval(),
        labels=LABELS,
        thresholds=(0.5,) * len(LABELS),
        size=64,
        examples=canonical,
        data_fingerprint="f" * 64,
        metrics={"macro_f1": 0.9},
        code_version="0.0",
    )
    path = tmp_path_factory.mktemp("fp32") / "model.onnx"
    export_model(net, card, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def int8(float32: bytes, maps: MapSet) -> bytes:
    return quantize(float32, maps.canonical(64))


def _run(content: bytes, canonical: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return list(session.run(list(OUTPUT_NAMES), {INPUT_NAME: canonical}))


def test_it_says_nearly_the_same(float32: bytes, int8: bytes, drawn: Drawn) -> None:
    unseen = drawn(4, 9).canonical(64)
    before, after = _run(float32, unseen), _run(int8, unseen)
    assert [output.shape for output in after] == [output.shape for output in before]
    assert np.abs(after[0] - before[0]).max() < 0.05
    assert np.corrcoef(after[1].ravel(), before[1].ravel())[0, 1] > 0.99
    assert after[2].min() >= 0.0
    assert after[2].max() <= 1.0


def test_a_server_takes_the_file(int8: bytes, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    path.write_bytes(int8)
    session = open_session(path, Device.CPU)
    golden = session.card.golden_maps.numpy()
    assert session.run(golden).probabilities == pytest.approx(
        session.card.golden_probabilities.numpy(), abs=1e-6
    )


def test_the_card_is_kept_but_for_what_changed(float32: bytes, int8: bytes) -> None:
    before, after = read_card(float32), read_card(int8)
    changed = {
        name
        for name in ModelCard.__struct_fields__
        if getattr(before, name) != getattr(after, name)
    }
    assert changed == {"architecture", "golden_probabilities"}
    assert is_int8(after)
    assert not is_int8(before)
    assert after.architecture == before.architecture + ", int8"


def test_only_the_backbone_has_eight_bits(float32: bytes, int8: bytes) -> None:
    def weights(content: bytes, kind: int) -> set[tuple[int, ...]]:
        graph = onnx.load_model_from_string(content).graph
        return {tuple(tensor.dims) for tensor in graph.initializer if tensor.data_type == kind}

    convolutions = {dims for dims in weights(float32, onnx.TensorProto.FLOAT) if len(dims) == 4}
    assert convolutions - weights(int8, onnx.TensorProto.INT8) == {(8, 3, 3, 3)}  # the first
    assert (len(LABELS), 2 * 48) in weights(int8, onnx.TensorProto.FLOAT)  # the head
    assert len(int8) < len(float32)


def test_a_card_can_be_written_again(int8: bytes) -> None:
    card = read_card(int8)
    again = with_card(int8, card)
    model = onnx.load_model_from_string(again)
    assert len(model.metadata_props) == len({entry.key for entry in model.metadata_props})
    assert read_card(again) == card


def test_judging_a_file(int8: bytes, maps: MapSet) -> None:
    judged = judge_file(int8, maps)
    assert judged.n == len(maps)
    assert 0.0 <= judged.macro_f1 <= 1.0


def _reached(macro_f1: float) -> EvaluationReport:
    return EvaluationReport(100, 0.9, macro_f1, {}, 0.01, (), ())


@pytest.mark.parametrize(
    ("fp32", "after", "allowed"),
    [(0.9, 0.9, True), (0.9, 0.91, True), (0.9, 0.8971, True), (0.9, 0.8965, False)],
)
def test_what_may_be_lost(fp32: float, after: float, allowed: bool) -> None:
    loss = Int8Loss.of(_reached(fp32), _reached(after))
    assert loss.allowed is allowed
    assert loss.drop_points == pytest.approx(100 * (fp32 - after))
    assert pytest.approx(0.3) == MOST_POINTS_LOST


def test_what_cannot_be_quantised(float32: bytes, int8: bytes, tmp_path: Path) -> None:
    canonical = np.zeros((2, 64, 64), dtype=np.uint8)
    with pytest.raises(ModelFileError, match="int8 already"):
        quantize(int8, canonical)
    with pytest.raises(ModelFileError, match=r"\(N, 64, 64\)"):
        quantize(float32, canonical[:, :48, :48])
    with pytest.raises(ModelFileError, match="no second convolution"):
        quantize(write_model(tmp_path / "linear.onnx").read_bytes(), canonical)
    with pytest.raises(ModelFileError, match="cut off"):
        quantize(float32[:-1000], canonical)
