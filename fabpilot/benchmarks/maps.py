"""The wafer maps that benchmarks run on."""

from pathlib import Path

import msgspec

from contracts.arrays import Array
from contracts.errors import DataError
from contracts.events import WaferMap
from fab_sim import labelled_maps, load_scenario
from fabpilot.output import err
from fabpilot.recorded import RecordedMaps
from fabpilot.settings import Settings

__all__ = ["SITE", "bench_maps"]

SITE = "bench"


def bench_maps(settings: Settings, data: Path | None, wafers: int) -> list[WaferMap]:
    """So many usable maps, from a file if there is one, repeated if it has too few."""
    path = data or settings.data / "wm811k.npz"
    if data is not None or path.exists():
        recorded = RecordedMaps(path, site=SITE, start_ms=0)
        found = [event for _, event, _ in recorded.events(0, wafers) if isinstance(event, WaferMap)]
        err.print(f"{len(found)} maps of {path.name}")
        if not found:
            raise DataError(f"{path} has no usable map")
        return _named(found, wafers)
    err.print(f"{path} is not there; the synthetic fab makes the maps")
    made = labelled_maps(load_scenario("mixed"), wafers=min(wafers, 5000), seed=0)
    return _named(
        [
            WaferMap(
                event_id=str(i),
                site=SITE,
                time_ms=i,
                product="sim",
                lot_id=lot,
                substrate_id=f"{lot}.{i}",
                slot=1,
                grid=Array.of(grid),
                source="bench",
            )
            for i, (grid, lot) in enumerate(zip(made.grids, made.lots, strict=True))
        ],
        wafers,
    )


def _named(events: list[WaferMap], wafers: int) -> list[WaferMap]:
    return [
        msgspec.structs.replace(events[i % len(events)], event_id=f"bench-{i}")
        for i in range(wafers)
    ]
