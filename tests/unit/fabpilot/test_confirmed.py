"""What engineers confirmed becomes training data: labels joined with maps, the held-out marked."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from contracts.arrays import Array
from contracts.codec import encode
from contracts.errors import DatasetError
from contracts.events import Event, Label, WaferMap
from contracts.topics import STREAM_SPECS, topic_name
from fabpilot.confirmed import combine, read_confirmed
from fabpilot.map_data import part_of
from models.data import MapSet, from_lists
from streaming.embedded import EmbeddedLog
from streaming.log import Log
from tests.factories import wafer_grid


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics(
        {
            topic_name(site, stream): spec.partitions
            for site in ("kr1", "kr2")
            for stream, spec in STREAM_SPECS.items()
        }
    )
    yield log
    log.close()


def wafer(number: int, site: str = "kr1", grid: np.ndarray | None = None) -> WaferMap:
    lot = f"L{number // 25:03d}"
    return WaferMap(
        event_id=f"map-{site}-{number}",
        site=site,
        time_ms=1000 + number,
        product="P",
        lot_id=lot,
        substrate_id=f"{lot}.{number % 25:02d}",
        slot=1,
        grid=Array.of(wafer_grid(seed=number) if grid is None else grid),
    )


def label(of: WaferMap, *patterns: str, by: str = "kim", time_ms: int = 5000) -> Label:
    return Label(
        event_id=f"label-{of.event_id}-{time_ms}-{by}",
        site=of.site,
        time_ms=time_ms,
        lot_id=of.lot_id,
        substrate_id=of.substrate_id,
        patterns=patterns,
        by=by,
    )


def put(log: Log, events: Sequence[Event]) -> None:
    log.append([encode(event) for event in events])


def shown(maps: MapSet) -> list[str]:
    return [maps.label_names[int(number)] for number in maps.labels]


def test_the_latest_label_of_a_wafer_counts_and_who_gave_it(log: Log) -> None:
    wafers = [wafer(number) for number in range(4)]
    put(log, wafers)
    put(
        log,
        [
            label(wafers[0], "Scratch", by="lee", time_ms=9000),
            label(wafers[0], "Loc", by="kim", time_ms=8000),
            label(wafers[1], "Half moon"),
            label(wafers[2], "edge ring"),
        ],
    )
    confirmed = read_confirmed(log, ["kr1"], multi_label=False)
    assert shown(confirmed.maps) == ["Scratch", "Half moon", "Edge-Ring"]
    assert confirmed.maps.label_names == ("Edge-Ring", "Scratch", "Half moon")
    assert confirmed.by == ("lee", "kim", "kim")
    assert confirmed.people == {"kim": 2, "lee": 1}
    assert np.array_equal(confirmed.maps.grids[0], wafers[0].grid.numpy())


def test_wafers_of_one_name_at_two_sites_are_two(log: Log) -> None:
    here, there = wafer(1), wafer(1, "kr2", wafer_grid(seed=99))
    put(log, [here, there, label(here, "Loc"), label(there, "Donut")])
    confirmed = read_confirmed(log, ["kr1", "kr2"], multi_label=False)
    assert sorted(shown(confirmed.maps)) == ["Donut", "Loc"]
    assert len(set(confirmed.maps.groups)) == 2


def test_what_cannot_be_used_is_counted(log: Log) -> None:
    wafers = [wafer(0), wafer(1), wafer(2, grid=np.ones((1, 1), np.uint8)), wafer(3)]
    put(log, wafers)
    lost = wafer(7)
    labels = [
        label(wafers[0], "Loc", "Scratch"),
        label(wafers[1], "a/b"),
        label(wafers[2], "Loc"),
        label(wafers[3], "Loc"),
        label(lost, "Loc"),
    ]
    put(log, labels)
    confirmed = read_confirmed(log, ["kr1"], multi_label=False)
    assert (len(confirmed.maps), confirmed.unusable, confirmed.without_map) == (1, 3, 1)
    mixed = read_confirmed(log, ["kr1"], multi_label=True)
    assert mixed.maps.labels.tolist() == [[1, 1], [1, 0]]


def test_without_labels_it_says_where_to_give_them(log: Log) -> None:
    put(log, [wafer(0)])
    with pytest.raises(DatasetError, match="Models page"):
        read_confirmed(log, ["kr1"], multi_label=False)


def test_whole_lots_are_held_out_and_stay_so(log: Log) -> None:
    wafers = [wafer(number) for number in range(1000)]
    put(log, wafers)
    put(log, [label(one, "Loc") for one in wafers[:500]])
    first = read_confirmed(log, ["kr1"], multi_label=False).maps
    put(log, [label(one, "Loc") for one in wafers[500:]])
    more = read_confirmed(log, ["kr1"], multi_label=False).maps
    assert first.held_out is not None
    assert more.held_out is not None
    assert 0.1 <= more.held_out.mean() <= 0.5
    assert np.array_equal(first.held_out, more.held_out[:500])
    for lot in np.unique(more.groups):
        assert len(set(more.held_out[more.groups == lot].tolist())) == 1


def test_a_new_pattern_on_one_lot_is_both_taught_and_judged(log: Log) -> None:
    wafers = [wafer(number) for number in range(25)]
    put(log, [*wafers, *(label(one, "Half moon") for one in wafers)])
    held = read_confirmed(log, ["kr1"], multi_label=False).maps.held_out
    assert held is not None
    assert 2 <= held.sum() <= 12


def reference() -> MapSet:
    labels = ["None", "Loc"] * 100
    grids = [wafer_grid(22, 22, 0.1, 1000 + number) for number in range(200)]
    return from_lists(grids, labels, [number // 8 for number in range(200)], "reference")


def test_the_frozen_hold_out_stays_and_a_corrected_map_is_taught_as_corrected() -> None:
    known = reference()
    frozen, learning = part_of(known, "holdout"), part_of(known, "train")
    # Recorded wafers that engineers looked at again: one of each side, and two new ones.
    grids = [frozen.grids[0], learning.grids[0], wafer_grid(seed=1), wafer_grid(seed=2)]
    confirmed = from_lists(grids, ["Half moon"] * 4, [0, 1, 2, 3], "confirmed")
    marked = MapSet(
        confirmed.grids,
        confirmed.labels,
        confirmed.label_names,
        confirmed.groups,
        confirmed.source,
        held_out=np.array([False, False, False, True]),
    )
    both = combine(known, marked)
    assert both.label_names == ("None", "Loc", "Half moon")
    teaches, judges = part_of(both, "train"), part_of(both, "holdout")
    assert len(judges) == len(frozen) + 1
    assert all(np.array_equal(a, b) for a, b in zip(frozen.grids, judges.grids, strict=False))
    assert shown(judges)[:-1] == shown(frozen)
    assert shown(judges)[-1] == "Half moon"
    assert len(teaches) == len(learning) - 1 + 2
    assert shown(teaches)[-2:] == ["Half moon", "Half moon"]
    assert teaches.groups[-2] > teaches.groups[-3]
