from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from contracts.errors import ModelFileError
from contracts.model_file import (
    INPUT_NAME,
    METADATA_KEY,
    NOVELTY_NAME,
    OUTPUT_NAMES,
    ModelCard,
    decode_card,
)
from models.export import PARITY_LIMIT, build_card, check_parity, export_model
from models.networks import BACKBONES, WaferMapNet

LABELS = ("None", "Center", "Scratch")


def _net(backbone: str = "mapnet_xs", *, multi_label: bool = False) -> WaferMapNet:
    """An untrained network whose batch norms and calibration are not those of a fresh one."""
    torch.manual_seed(0)
    net = WaferMapNet(backbone, 3, multi_label=multi_label, none_index=0)
    net.logits(torch.randint(0, 256, (16, 64, 64), dtype=torch.uint8))
    net.temperature.fill_(0.7)
    net.bias.copy_(torch.tensor([0.3, -0.2, 0.1]))
    return net.eval()


def _card(net: WaferMapNet) -> ModelCard:
    rng = np.random.default_rng(0)
    return build_card(
        net,
        labels=LABELS,
        thresholds=(0.5, 0.4, 0.6),
        size=64,
        examples=rng.integers(0, 256, size=(40, 64, 64), dtype=np.uint8),
        data_fingerprint="f" * 64,
        metrics={"macro_f1": 0.9},
        code_version="0.0",
    )


@pytest.mark.parametrize("backbone", [*sorted(BACKBONES), "mobilenetv3_small_050"])
@pytest.mark.parametrize(("multi_label", "views"), [(False, 1), (True, 1), (False, 4)])
def test_the_file_says_what_the_network_says(
    backbone: str, multi_label: bool, views: int, tmp_path: Path
) -> None:
    net = _net(backbone, multi_label=multi_label)
    net.views = views
    path = tmp_path / "new folder" / "model.onnx"
    export_model(net, _card(net), path)
    assert list(path.parent.iterdir()) == [path]
    maps = np.random.default_rng(1).integers(0, 256, size=(17, 64, 64), dtype=np.uint8)
    assert check_parity(net, path.read_bytes(), maps) <= PARITY_LIMIT


def test_the_file_follows_the_contract(tmp_path: Path) -> None:
    net = _net()
    card = _card(net)
    path = tmp_path / "model.onnx"
    export_model(net, card, path)
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape) == (INPUT_NAME, "tensor(uint8)", ["batch", 64, 64])
    given = {output.name: output for output in session.get_outputs()}
    assert tuple(given) == (*OUTPUT_NAMES, NOVELTY_NAME)
    assert {output.type for output in given.values()} == {"tensor(float)"}
    assert given["heatmap"].shape == ["batch", 8, 8]
    assert given["probabilities"].shape == ["batch", 3]
    read = decode_card(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert read == card
    golden = session.run(["probabilities"], {INPUT_NAME: read.golden_maps.numpy()})[0]
    assert golden == pytest.approx(read.golden_probabilities.numpy(), abs=PARITY_LIMIT)


def test_a_file_that_says_something_else_is_refused(tmp_path: Path) -> None:
    net = _net()
    path = tmp_path / "model.onnx"
    export_model(net, _card(net), path)
    model = onnx.load(path)
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 1, 0], dtype=np.float32), "bias"))
    maps = _card(net).golden_maps.numpy()
    with pytest.raises(ModelFileError, match="differs from the network"):
        check_parity(net, model.SerializeToString(), maps)
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match="differs"):
        check_parity(_net(multi_label=True), before, maps)


def test_a_map_without_a_pattern_gets_a_dark_heatmap() -> None:
    net = _net()
    net.bias.copy_(torch.tensor([50.0, 0.0, 0.0]))
    maps = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert net(maps).heatmap.max() < 0.01
        net.bias.copy_(torch.tensor([-50.0, 0.0, 0.0]))
        assert net(maps).heatmap.amax(dim=(1, 2)).min() >= 0.5
