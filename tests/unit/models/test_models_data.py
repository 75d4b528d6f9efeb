from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.errors import DatasetError
from contracts.labels import pattern_name
from contracts.wafer_map import PATTERNS
from models.data import MapSet, concat, from_lists
from models.map_files import load_maps, save_maps


def _ragged(**changes: Any) -> dict[str, Any]:
    """Twelve maps of 5x6 and 6x5 dies in the layout of wm811k.npz."""
    rng = np.random.default_rng(0)
    grids = [
        rng.integers(0, 3, size=(5, 6) if i % 2 else (6, 5), dtype=np.uint8) for i in range(12)
    ]
    arrays: dict[str, Any] = {
        "data": np.concatenate([grid.ravel() for grid in grids]),
        "offsets": np.arange(13) * 30,
        "shapes": np.array([grid.shape for grid in grids], dtype=np.int16),
        "label": (np.arange(12) % 3).astype(np.int8),
        "label_names": np.array(["Near-Full", "none", "edge_loc"]),
        "orig_index": np.arange(12) * 2 + 100,
    }
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


def _stacked(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "maps": rng.integers(0, 3, size=(12, 8, 8), dtype=np.uint8),
        "labels": rng.integers(0, 2, size=(12, 2), dtype=np.uint8),
        "label_names": np.array(["Scratch", "Center"]),
    }
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


def _save(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def test_ragged_maps_keep_their_shapes_and_get_our_class_order(tmp_path: Path) -> None:
    arrays = _ragged()
    maps = load_maps(_save(tmp_path / "a.npz", arrays))
    assert maps.label_names == ("None", "Edge-Loc", "Near-full")
    assert [maps.label_names[n] for n in maps.labels[:3]] == ["Near-full", "None", "Edge-Loc"]
    assert maps.grids[0].shape == (6, 5)
    assert np.array_equal(maps.grids[1].ravel(), arrays["data"][30:60])
    assert maps.groups.tolist() == arrays["orig_index"].tolist()
    assert not maps.multi_label
    assert maps.skipped == 0


def test_without_orig_index_the_row_order_counts(tmp_path: Path) -> None:
    maps = load_maps(_save(tmp_path / "a.npz", _ragged(orig_index=None)))
    assert maps.groups.tolist() == list(range(12))


def test_mixed_patterns_get_our_class_order(tmp_path: Path) -> None:
    arrays = _stacked()
    maps = load_maps(_save(tmp_path / "a.npz", arrays))
    assert maps.multi_label
    assert maps.label_names == ("Center", "Scratch")
    assert np.array_equal(maps.labels, arrays["labels"][:, ::-1])


def test_equal_mixed_maps_share_a_group(tmp_path: Path) -> None:
    arrays = _stacked()
    arrays["maps"][7] = arrays["maps"][2]
    groups = load_maps(_save(tmp_path / "a.npz", arrays)).groups
    assert groups[7] == groups[2]
    assert len(set(groups.tolist())) == 11


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": None}, "lacks label"),
        ({"data": np.full(360, 3, dtype=np.uint8)}, "die codes run up to 3"),
        ({"data": np.zeros(360, dtype=np.float32)}, "data must be uint8"),
        ({"offsets": np.arange(13) * 31}, "do not cut"),
        ({"offsets": np.arange(12) * 30}, "need 13 offsets"),
        ({"offsets": np.arange(13) * 30.0}, "whole numbers"),
        ({"shapes": np.full((12, 2), -5)}, "do not cut"),
        ({"label": np.full(12, 3)}, "labels run from 3 to 3"),
        ({"label": np.full(12, -1)}, "labels run from -1"),
        ({"label_names": np.array(["a", "b", "A "[:1].lower()])}, "different names"),
        ({"label_names": np.arange(3)}, "list of text"),
        ({"orig_index": np.arange(11)}, "11 entries in orig_index"),
        ({"data": np.zeros(360, dtype=np.uint8)}, "12 of 12 maps cannot be used"),
    ],
)
def test_a_bad_ragged_file_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        load_maps(_save(tmp_path / "a.npz", _ragged(**changes)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": None}, "lacks labels"),
        ({"maps": np.zeros((12, 8), dtype=np.uint8)}, "3 dimensions"),
        ({"maps": np.full((12, 8, 8), 7, dtype=np.uint8)}, "die codes run up to 7"),
        ({"labels": np.zeros((12, 3), dtype=np.uint8)}, "labels of shape"),
        ({"labels": np.full((12, 2), 2)}, "0 or 1"),
        ({"maps": np.zeros((0, 8, 8), dtype=np.uint8), "labels": np.zeros((0, 2), int)}, "none"),
    ],
)
def test_a_bad_stacked_file_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DatasetError, match=reason):
        load_maps(_save(tmp_path / "a.npz", _stacked(**changes)))


def test_files_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    good = _save(tmp_path / "good.npz", _ragged()).read_bytes()
    cases = {
        "empty.npz": (b"", "is empty"),
        "text.npz": (b"maps, labels", "not an .npz file"),
        "cut.npz": (good[: len(good) // 2], "not an .npz file"),
        "bent.npz": (good[:100] + b"\xff" * 40 + good[140:], "damaged"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=reason):
            load_maps(tmp_path / name)
    with pytest.raises(DatasetError, match=r"missing\.npz cannot be read"):
        load_maps(tmp_path / "missing.npz")
    with pytest.raises(DatasetError, match=r"not an \.npz file"):
        load_maps(tmp_path)
    with pytest.raises(DatasetError, match="neither"):
        load_maps(_save(tmp_path / "other.npz", {"x": np.zeros(3)}))


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, **_stacked(maps=np.array([{}, []], dtype=object)))
    with pytest.raises(DatasetError, match="pickled objects"):
        load_maps(path)


def test_single_unusable_maps_are_skipped_and_counted(tmp_path: Path) -> None:
    arrays = _stacked(maps=np.ones((30, 8, 8), dtype=np.uint8), labels=np.ones((30, 2), dtype=int))
    arrays["maps"][4] = 0
    maps = load_maps(_save(tmp_path / "a.npz", arrays))
    assert (len(maps), maps.skipped, len(maps.labels), len(maps.groups)) == (29, 1, 29, 29)


def test_maps_too_small_to_show_anything_are_skipped() -> None:
    grids = [np.ones((6, 6), dtype=np.uint8)] * 20 + [np.ones((1, 1), dtype=np.uint8)]
    maps = from_lists(grids, ["None", "Loc"] * 10 + ["Loc"], list(range(21)), "tester")
    assert (len(maps), maps.skipped) == (20, 1)


def test_lots_are_those_of_the_source_or_25_neighbours() -> None:
    grids = [np.ones((6, 6), dtype=np.uint8)] * 60
    labels = ["None", "Loc"] * 30
    known = from_lists(grids, labels, [place // 7 for place in range(60)], "with lots")
    assert known.lots().tolist() == known.groups.tolist()
    unknown = from_lists(grids, labels, list(range(100, 160)), "in order")
    assert [int((unknown.lots() == lot).sum()) for lot in (4, 5, 6)] == [25, 25, 10]


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(DatasetError, match="2 labels"):
        from_lists([np.ones((6, 6), dtype=np.uint8)], ["None", "Loc"], [1], "tester")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_spelling_of_a_pattern_is_known(pattern: str) -> None:
    for spelling in (pattern.lower(), pattern.upper(), pattern.replace("-", "_"), f" {pattern} "):
        assert pattern_name(spelling) == pattern


def test_classes_of_others_come_after_ours() -> None:
    grids = [np.ones((6, 6), dtype=np.uint8)] * 3
    maps = from_lists(grids, ["Mousebite", "scratch", "Center"], [1, 2, 3], "tester")
    assert maps.label_names == ("Center", "Scratch", "Mousebite")


def test_the_fingerprint_sees_maps_labels_names_and_order(tmp_path: Path) -> None:
    first = load_maps(_save(tmp_path / "a.npz", _ragged()))
    same = load_maps(_save(tmp_path / "b.npz", _ragged()))
    assert first.fingerprint() == same.fingerprint()
    other_data = _ragged()["data"].copy()
    other_data[3] = (other_data[3] + 1) % 3
    others = [
        load_maps(_save(tmp_path / f"{number}.npz", _ragged(**changes)))
        for number, changes in enumerate(
            (
                {"data": other_data},
                {"label": np.zeros(12, dtype=int)},
                {"label_names": np.array(["Loc", "none", "edge_loc"])},
                {"orig_index": np.arange(12)},
            )
        )
    ]
    others.append(first.subset(np.arange(11)))
    fingerprints = {maps.fingerprint() for maps in others}
    assert len(fingerprints) == len(others)
    assert first.fingerprint() not in fingerprints


def _some(labels: list[str], seed: int) -> MapSet:
    rng = np.random.default_rng(seed)
    grids = [rng.integers(0, 3, size=(9, 8 + i % 2), dtype=np.uint8) for i in range(len(labels))]
    return from_lists(grids, labels, list(range(len(labels))), f"set {seed}")


def test_joined_sets_keep_the_first_ones_classes_in_their_places() -> None:
    first = _some(["None", "Scratch", "None"], 1)
    second = _some(["Half moon", "Scratch", "Donut"], 2)
    both = concat(first, second, "both")
    assert both.label_names == ("None", "Scratch", "Donut", "Half moon")
    assert both.labels.tolist() == [0, 1, 0, 3, 1, 2]
    assert both.groups.tolist() == [0, 1, 2, 3, 4, 5]
    assert both.held_out is None
    assert np.array_equal(both.grids[4], second.grids[1])


def test_joined_sets_of_mixed_patterns(tmp_path: Path) -> None:
    first = load_maps(_save(tmp_path / "first.npz", _stacked()))
    second = load_maps(
        _save(tmp_path / "second.npz", _stacked(label_names=np.array(["Half moon", "Scratch"])))
    )
    both = concat(first, second, "both")
    assert both.label_names == ("Center", "Scratch", "Half moon")
    assert not both.labels[:12, 2].any()
    assert np.array_equal(both.labels[12:, 1:], second.labels)
    with pytest.raises(DatasetError, match="several labels"):
        concat(first, _some(["Loc", "None"], 1), "both")


@pytest.mark.parametrize("mixed", [False, True])
def test_a_saved_set_is_read_as_it_was(tmp_path: Path, mixed: bool) -> None:
    maps = _some(["None", "Scratch", "None", "Half moon"], 1)
    held_out = np.array([True, False, False, True])
    labels = maps.one_hot() if mixed else maps.labels
    maps = MapSet(
        maps.grids,
        labels,
        maps.label_names,
        maps.groups,
        "x",
        multi_label=mixed,
        held_out=held_out,
        chosen=~held_out,
    )
    save_maps(maps, tmp_path / "maps.npz")
    again = load_maps(tmp_path / "maps.npz")
    assert again.fingerprint() == maps.fingerprint()
    assert again.held_out is not None
    assert again.chosen is not None
    assert np.array_equal(again.held_out, held_out)
    assert np.array_equal(again.chosen, ~held_out)
    assert np.array_equal(again.subset(np.array([3, 1])).held_out, [True, False])


def test_a_set_that_contradicts_itself_about_what_is_held_out(tmp_path: Path) -> None:
    arrays = _ragged(held_out=np.zeros(3, np.uint8))
    with pytest.raises(DatasetError, match="held_out"):
        load_maps(_save(tmp_path / "maps.npz", arrays))
