"""A model file is run only if it is whole, ours, and does what it did when it was exported."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from contracts.arrays import Array
from contracts.errors import DeviceError, ModelFileError
from serving.device import Device, cuda_driver
from serving.session import open_session
from tests.model_files import graph, write_model


def test_a_good_file_runs_and_says_what_it_is(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    session = open_session(path, Device.CPU)
    assert session.provider == "CPUExecutionProvider"
    assert session.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    outputs = session.run(session.card.golden_maps.numpy()[:3])
    assert outputs.probabilities.shape == (3, 9)
    assert outputs.embedding.shape == (3, 64)
    assert outputs.heatmap.shape == (3, 8, 8)
    assert np.allclose(outputs.probabilities.sum(axis=1), 1, atol=1e-5)


def test_missing_empty_truncated_and_foreign_files(tmp_path: Path) -> None:
    good = write_model(tmp_path / "m.onnx").read_bytes()
    cases = {
        "missing.onnx": (None, "cannot read"),
        "empty.onnx": (b"", "metadata"),
        "text.onnx": (b"not a model at all, but text" * 20, "ONNX"),
        "truncated.onnx": (good[: len(good) // 2], "ONNX"),
        "foreign.onnx": (graph().SerializeToString(), "fabpilot train"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelFileError, match=message):
            open_session(path, Device.CPU)


def test_a_file_that_is_not_the_registered_one(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    open_session(path, Device.CPU, sha256=digest)
    write_model(path, seed=1)
    with pytest.raises(ModelFileError, match="changed or cut off"):
        open_session(path, Device.CPU, sha256=digest)


def test_external_data_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    onnx.save(
        model,
        tmp_path / "external.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    with pytest.raises(ModelFileError, match="another file"):
        open_session(tmp_path / "external.onnx", Device.CPU)


def test_external_data_of_a_constant_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    secret = onnx.numpy_helper.from_array(np.zeros(4, dtype=np.float32), "secret")
    secret.data_location = onnx.TensorProto.EXTERNAL
    secret.external_data.add(key="location", value="../../secret")
    constant = onnx.helper.make_node("Constant", [], ["secret"], value=secret)
    model.graph.node.insert(0, constant)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="another file"):
        open_session(path, Device.CPU)


def test_functions_of_a_file_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.functions.add(name="Mine", domain="other")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="functions of its own"):
        open_session(path, Device.CPU)


def test_damaged_weights_fail_on_the_golden_batch(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    weights = next(t for t in model.graph.initializer if t.name == "weights")
    values = onnx.numpy_helper.to_array(weights).copy()
    weights.CopyFrom(onnx.numpy_helper.from_array(values[:, ::-1].copy(), "weights"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="golden batch"):
        open_session(path, Device.CPU)


def test_weights_of_nan_fail_on_the_golden_batch(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    weights = next(t for t in model.graph.initializer if t.name == "weights")
    values = np.full_like(onnx.numpy_helper.to_array(weights), np.nan)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, "weights"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="golden batch"):
        open_session(path, Device.CPU)


def test_a_card_that_does_not_fit_its_graph(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_model(path, golden_probabilities=Array.of(np.full((4, 9), 0.9, np.float32)))
    with pytest.raises(ModelFileError, match="golden batch"):
        open_session(path, Device.CPU)
    smaller = onnx.load(write_model(tmp_path / "smaller.onnx", size=32))
    model = onnx.load(write_model(path))
    model.metadata_props[0].value = smaller.metadata_props[0].value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="not maps uint8"):
        open_session(path, Device.CPU)


def test_a_graph_without_a_heatmap(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.output.pop()
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="does not return heatmap"):
        open_session(path, Device.CPU)


@pytest.mark.skipif(cuda_driver() > 0, reason="this machine has a GPU")
def test_cuda_on_a_machine_without_one(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    with pytest.raises(DeviceError, match="FABPILOT_DEVICE"):
        open_session(path, Device.CUDA)
    assert open_session(path, Device.AUTO).provider == "CPUExecutionProvider"
