import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from contracts.errors import ConfigError, DatasetError, DeviceError, ModelFileError
from models.augment import dihedral
from models.average import WeightAverage
from models.calibrate import best_thresholds, fit_temperature
from models.checkpoint import CheckpointFile, run_key
from models.data import MapSet
from models.evaluate import calibration_error, evaluate
from models.networks import BACKBONES, WaferMapNet, turned, turned_back
from models.options import EpochMetrics, Progress, TrainOptions
from models.replicas import Replicas
from models.sampling import class_shares, epoch_order, prior_shift
from models.splits import split_blocks
from models.train import Trained, predictor, train
from models.weights import load_weights, save_weights

Drawn = Callable[[int, int], MapSet]
QUICK = TrainOptions(
    backbone="mapnet_xs", size=32, batch=32, epochs=6, budget_s=None, precision="fp32", device="cpu"
)


@pytest.fixture(scope="module")
def learned(drawn: Drawn) -> tuple[Trained, MapSet]:
    rest, held = split_blocks(drawn(80, 0), seed=0)
    train_part, validation = split_blocks(rest, seed=1)
    return train(train_part, validation, QUICK), held


class FakeClock:
    """Seconds that pass only when asked for, `step_s` a time."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self._step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self._step_s
        return self.now_s


def test_a_tiny_network_learns_drawn_patterns(learned: tuple[Trained, MapSet]) -> None:
    trained, held = learned
    report = evaluate(
        predictor(trained.net), trained.labels, False, trained.thresholds, held, QUICK.size
    )
    assert report.accuracy > 0.9
    assert (trained.stopped_by, trained.precision) == ("epochs", "fp32")
    assert [metrics.epoch for metrics in trained.history] == list(range(1, 7))
    assert trained.history[-1].loss < trained.history[0].loss


def test_the_heatmap_points_at_the_pattern(learned: tuple[Trained, MapSet]) -> None:
    trained, held = learned
    rings = held.subset(np.flatnonzero(held.labels == held.label_names.index("Edge-Ring")))
    with torch.inference_mode():
        heat = trained.net(torch.from_numpy(rings.canonical(QUICK.size))).heatmap.numpy()
    assert 0.0 <= heat.min() <= heat.max() <= 1.0
    assert heat[:, 1:-1, 1:-1].mean() < heat.mean()


def test_equal_seeds_give_equal_weights(drawn: Drawn) -> None:
    rest, validation = split_blocks(drawn(30, 0), seed=0)
    short = replace(QUICK, epochs=1)
    first, second = (train(rest, validation, short).net.state_dict() for _ in range(2))
    other = train(rest, validation, replace(short, seed=1)).net.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_budget_ends_training_and_its_schedule(drawn: Drawn) -> None:
    rest, validation = split_blocks(drawn(30, 0), seed=0)
    seen: list[Progress] = []
    options = replace(QUICK, epochs=None, budget_s=20.0)
    trained = train(rest, validation, options, on_progress=seen.append, clock=FakeClock(1.0))
    assert trained.stopped_by == "budget"
    assert seen[-1].share >= 1.0
    assert seen[-1].elapsed_s <= 21.0
    assert all(before.share < after.share for before, after in itertools.pairwise(seen))
    assert all(0 <= progress.eta_s <= 20.0 for progress in seen[:-1])


def test_a_slow_machine_stops_early_but_at_the_end_of_the_schedule(drawn: Drawn) -> None:
    rest, validation = split_blocks(drawn(30, 0), seed=0)
    options = replace(QUICK, epochs=100, budget_s=10.0)
    trained = train(rest, validation, options, clock=FakeClock(3.0))
    assert trained.stopped_by == "budget"
    assert trained.steps <= 4


def test_an_interrupt_comes_through_and_threads_end(drawn: Drawn) -> None:
    rest, validation = split_blocks(drawn(30, 0), seed=0)
    before = torch.get_num_threads()

    def press_ctrl_c(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(rest, validation, QUICK, on_progress=press_ctrl_c)
    assert torch.get_num_threads() == before


def test_mixed_patterns_train_with_thresholds(drawn: Drawn) -> None:
    maps = drawn(40, 0)
    mixed = replace(
        maps, labels=maps.one_hot()[:, 1:], label_names=maps.label_names[1:], multi_label=True
    )
    rest, validation = split_blocks(mixed, seed=0)
    epochs: list[EpochMetrics] = []
    trained = train(rest, validation, replace(QUICK, epochs=3), on_epoch=epochs.append)
    report = evaluate(
        predictor(trained.net), trained.labels, True, trained.thresholds, validation, QUICK.size
    )
    assert len(trained.thresholds) == 3
    assert report.exact_match is not None
    assert report.exact_match > 0.6
    assert [metrics.epoch for metrics in epochs] == [1, 2, 3]


def test_auto_precision_is_settled_by_the_clock(drawn: Drawn) -> None:
    rest, validation = split_blocks(drawn(20, 0), seed=0)
    # Two readings a trial, three trials a precision: fp32 takes 5 s a trial here, bf16 1 s.
    readings = iter([0.0, *(5.0 * n for n in range(1, 7)), *(30.0 + n for n in range(1, 7))])
    last = [37.0]

    def clock() -> float:
        last[0] = next(readings, last[0] + 0.1)
        return last[0]

    options = replace(QUICK, epochs=1, precision="auto")
    assert train(rest, validation, options, clock=clock).precision == "bf16"


def test_what_cannot_be_trained_is_refused(drawn: Drawn) -> None:
    rest, validation = split_blocks(drawn(20, 0), seed=0)
    with pytest.raises(DatasetError, match="split from one set"):
        train(rest, replace(validation, label_names=("a", "b", "c", "d")), QUICK)
    one_class = rest.subset(np.flatnonzero(rest.labels == 0))
    with pytest.raises(DatasetError, match="two classes"):
        train(one_class, validation, QUICK)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="CUDA"):
            train(rest, validation, replace(QUICK, device="cuda"))


@pytest.mark.parametrize(
    "wrong",
    [{"budget_s": None, "epochs": None}, {"epochs": 0}, {"size": 8}, {"batch": 1}, {"turn": 1.5}],
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        TrainOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("backbone", [*sorted(BACKBONES), "mobilenetv3_small_050", "resnet10t"])
def test_every_backbone_gives_all_outputs(backbone: str) -> None:
    net = WaferMapNet(backbone, 9, none_index=0).eval()
    maps = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        probabilities, embedding, heatmap, novelty = net(maps)
    assert probabilities.shape == (3, 9)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(3))
    assert embedding.shape[0] == heatmap.shape[0] == len(novelty) == 3
    assert heatmap.min() >= 0
    assert heatmap.max() <= 1
    if backbone in BACKBONES or backbone.startswith("resnet"):
        assert heatmap.shape[1:] == (8, 8)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mapnet_xxl", "ours are mapnet_xs"),
        ("vit_tiny_patch16_224", "cannot take 64x64"),
        ("mixer_s32_224", "cannot take 64x64"),
    ],
)
def test_backbones_that_cannot_be_used_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        WaferMapNet(name, 9)


def test_the_channels_keep_what_the_canonical_map_says() -> None:
    maps = torch.tensor([[[0, 1], [2, 255]]], dtype=torch.uint8)
    on_wafer, share, touched = WaferMapNet.channels(maps)[0]
    assert on_wafer.tolist() == [[0, 1], [1, 1]]
    assert share.flatten().tolist() == pytest.approx([0, 0, 1 / 254, 1])
    assert touched.tolist() == [[0, 0], [1, 1]]


def test_replicas_leave_the_gradient_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 2)
    x, y = torch.randn(70, 4), torch.randn(70, 2)

    def task(part: nn.Linear, inputs: torch.Tensor, wanted: torch.Tensor) -> float:
        loss = (part(inputs) - wanted).square().mean()
        loss.backward()
        return loss.item()

    whole = task(net, x, y)
    expected = net.weight.grad.clone()  # type: ignore[union-attr]
    with Replicas(net, 64, parallel=True) as replicas:
        loss = replicas.learn(task, x, y)
    assert loss == pytest.approx(whole, rel=1e-5)
    assert torch.allclose(net.weight.grad, expected, atol=1e-6)  # type: ignore[arg-type]


def test_the_average_follows_slowly_and_counts_batches() -> None:
    net = nn.BatchNorm1d(2)
    average = WeightAverage(net, decay=0.2)
    net.weight.data.fill_(3.0)
    net(torch.randn(8, 2))
    average.update(net)
    # The first update weighs 9/11: a short run does not keep its random first weights.
    assert average.net.weight.tolist() == pytest.approx([1 + 2 * 9 / 11] * 2)
    average.update(net)
    assert average.net.weight[0].item() == pytest.approx(3 - 2 * 2 / 11 * 0.2)
    assert average.net.num_batches_tracked == net.num_batches_tracked


def test_rare_classes_are_shown_more_often(drawn: Drawn) -> None:
    maps = drawn(60, 0)
    keep = np.flatnonzero((maps.labels != 1) | (np.arange(len(maps)) % 8 == 0))
    maps = maps.subset(keep)
    shares = class_shares(maps, 0.5)
    assert shares is not None
    order = epoch_order(torch.from_numpy(maps.labels), shares, torch.Generator().manual_seed(0))
    assert len(order) == len(maps)
    shown = np.bincount(maps.labels[order.numpy()], minlength=4) / len(order)
    true = np.array(list(maps.class_counts().values())) / len(maps)
    assert shown == pytest.approx(shares, abs=0.01)
    assert shown[1] > true[1]
    assert prior_shift(maps.class_counts(), shares).numpy() == pytest.approx(
        np.log(true / shares), abs=1e-5
    )
    assert class_shares(maps, 0.0) is None
    unchanged = epoch_order(torch.from_numpy(maps.labels), None, torch.Generator().manual_seed(0))
    assert sorted(unchanged.tolist()) == list(range(len(maps)))


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_again(true_temperature: float) -> None:
    torch.manual_seed(0)
    scores = torch.randn(4000, 5) * 3
    labels = torch.distributions.Categorical(logits=scores / true_temperature).sample()
    found = fit_temperature(scores, labels, torch.zeros(5), multi_label=False)
    assert math.isclose(found, true_temperature, rel_tol=0.1)
    sure = torch.softmax(scores / found, dim=1).max(dim=1)
    assert calibration_error(sure.values.numpy(), (sure.indices == labels).numpy()) < 0.03


def test_thresholds_separate_what_can_be_separated() -> None:
    truth = np.array([[0, 0], [0, 0], [1, 0], [1, 0]], dtype=np.uint8)
    probabilities = np.array([[0.1, 0.5], [0.2, 0.5], [0.7, 0.5], [0.8, 0.5]], dtype=np.float32)
    first, never_seen = best_thresholds(probabilities, truth)
    assert 0.2 < first <= 0.7
    assert never_seen == 0.5


class KilledError(Exception):
    """Stands for the end of the process."""


def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(drawn: Drawn, tmp_path: Path) -> None:
    rest, validation = split_blocks(drawn(30, 0), seed=0)
    options = replace(QUICK, epochs=3)
    whole = train(rest, validation, options)
    file = CheckpointFile(tmp_path, run_key(options, rest.fingerprint()))

    def die_in_the_third_epoch(progress: Progress) -> None:
        if progress.epoch == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train(rest, validation, options, checkpoint=file, on_progress=die_in_the_third_epoch)
    epochs: list[EpochMetrics] = []
    resumed = train(rest, validation, options, checkpoint=file, on_epoch=epochs.append)
    assert [epoch.epoch for epoch in epochs] == [3]
    assert (resumed.resumed_at, resumed.steps) == (2, whole.steps)
    theirs = whole.net.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in resumed.net.state_dict().items())
    again = train(rest, validation, options, checkpoint=file, on_epoch=epochs.append)
    assert len(epochs) == 1
    assert all(torch.equal(value, theirs[name]) for name, value in again.net.state_dict().items())


def test_a_resumed_run_has_only_the_rest_of_its_budget(drawn: Drawn, tmp_path: Path) -> None:
    rest, validation = split_blocks(drawn(30, 0), seed=0)
    options = replace(QUICK, epochs=None, budget_s=100.0)
    file = CheckpointFile(tmp_path, "run")

    def die(epoch: EpochMetrics) -> None:
        if epoch.epoch == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train(rest, validation, options, checkpoint=file, on_epoch=die, clock=FakeClock(1.0))
    clock = FakeClock(1.0)
    resumed = train(rest, validation, options, checkpoint=file, clock=clock)
    assert resumed.resumed_at == 2
    assert clock.now_s < 100.0
    assert resumed.elapsed_s == pytest.approx(100.0, abs=3.0)


def test_a_damaged_checkpoint_says_what_to_do(drawn: Drawn, tmp_path: Path) -> None:
    rest, validation = split_blocks(drawn(30, 0), seed=0)
    file = CheckpointFile(tmp_path, "run")
    file.path.write_bytes(b"half of a checkpoint")
    with pytest.raises(DatasetError, match="remove it"):
        train(rest, validation, QUICK, checkpoint=file)


def test_patience_keeps_the_best_epoch(drawn: Drawn) -> None:
    rest, validation = split_blocks(drawn(30, 0), seed=0)
    options = replace(QUICK, epochs=40, patience=2, learning_rate=1e-6)
    trained = train(rest, validation, options)
    scores = [epoch.validation_macro_f1 for epoch in trained.history]
    assert trained.stopped_by == "patience"
    assert len(scores) == scores.index(max(scores)) + 3 < 40


def test_training_goes_on_from_weights_with_a_class_more(
    learned: tuple[Trained, MapSet], drawn: Drawn, tmp_path: Path
) -> None:
    trained, held = learned
    save_weights(trained.net, trained.labels, tmp_path / "weights.safetensors")
    weights = load_weights(tmp_path / "weights.safetensors")
    rest, validation = split_blocks(drawn(80, 5), seed=0)
    names = (*rest.label_names, "Zebra")
    more, val = replace(rest, label_names=names), replace(validation, label_names=names)
    short = replace(QUICK, epochs=1, learning_rate=1e-6)
    tuned = train(more, val, short, init=weights)
    judged = evaluate(predictor(tuned.net), tuned.labels, False, tuned.thresholds, held, QUICK.size)
    assert tuned.labels == names
    assert judged.accuracy > 0.9
    with pytest.raises(ModelFileError, match="--backbone mapnet_xs"):
        train(rest, validation, replace(short, backbone="mapnet_s"), init=weights)


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_weights(path)
    path.write_bytes(b"\x80\x04 pickled")
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_weights(path)


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, str(root / "tests" / "team_worker.py"), str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=240,
        capture_output=True,
    )
    leader, follower = (torch.load(tmp_path / f"{n}.pt") for n in ("leader", "follower"))
    assert leader["steps"] == follower["steps"] > 0
    for name, value in leader["weights"].items():
        assert torch.equal(value, follower["weights"][name])


@pytest.mark.parametrize("element", range(8))
def test_turning_back_undoes_turning(element: int) -> None:
    maps = torch.arange(2 * 5 * 5).reshape(2, 5, 5)
    turns = turned(maps, element)
    assert torch.equal(turns, dihedral(maps, torch.full((2,), element)))
    assert torch.equal(turned_back(turns, element), maps)


@pytest.mark.parametrize("views", [4, 8])
def test_views_make_a_network_blind_to_turns(views: int, drawn: Drawn) -> None:
    torch.manual_seed(0)
    net = WaferMapNet("mapnet_xs", 3, none_index=0, views=views).eval()
    maps = torch.from_numpy(drawn(1, 0).canonical(32))
    quarter = 5
    with torch.inference_mode():
        straight, over = net(maps), net(turned(maps, quarter))
    assert torch.allclose(straight.probabilities, over.probabilities, atol=1e-5)
    assert torch.allclose(straight.embedding, over.embedding, atol=1e-5)
    assert torch.allclose(turned(straight.heatmap, quarter), over.heatmap, atol=1e-4)
