import io
import itertools

import pytest

from fabpilot.benchmarks.frontier import Frontier, FrontierRow, choose, figure_points, markdown
from models.frontier_figure import frontier_figure


def _row(name: str, maps_per_s: float, macro_f1: float, *, allowed: bool = True) -> FrontierRow:
    int8 = name.endswith("8")
    return FrontierRow(
        name=name,
        architecture=f"{name}, 3 channels",
        precision="int8" if int8 else "float32",
        canonical_size=64,
        megabytes=1.0,
        maps_per_s=maps_per_s,
        over_reference=maps_per_s / 7000,
        macro_f1=macro_f1,
        accuracy=0.97,
        ece=0.01,
        drop_points=0.1 if int8 else None,
        allowed=allowed,
    )


ROWS = (
    _row("large", 1000, 0.950),
    _row("large8", 2500, 0.945, allowed=False),
    _row("small", 3000, 0.932),
    _row("small8", 6500, 0.931),
    _row("beaten", 2900, 0.931),
    _row("tiny", 9000, 0.90),
)


def test_the_front_and_the_defaults() -> None:
    chosen = choose(ROWS)
    assert [row.name for row in chosen] == ["tiny", "small8", "small", "beaten", "large8", "large"]
    assert {row.name for row in chosen if row.front} == {"tiny", "small8", "small", "large"}
    assert {row.name: row.default for row in chosen if row.default} == {
        "large": "accurate",
        "small8": "fast",  # tiny is five points behind
    }


def test_one_model_is_both_defaults() -> None:
    (only,) = choose([_row("only", 100, 0.9)])
    assert only.front
    assert only.default == "fast and accurate"


@pytest.mark.parametrize("order", [ROWS, ROWS[::-1]])
def test_the_choice_does_not_depend_on_the_order(order: tuple[FrontierRow, ...]) -> None:
    assert choose(order) == choose(ROWS)


def _frontier() -> Frontier:
    return Frontier(
        data="maps.npz",
        n=100,
        cores=2,
        reference="mobilenetv3_small_100 at 64x64",
        reference_per_s=7000.0,
        cores_got=0.98,
        fast_over_accurate=6.5,
        points_behind=1.9,
        rows=tuple(choose(ROWS)),
    )


def test_the_table_has_a_line_a_model() -> None:
    lines = markdown(_frontier()).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(ROWS)
    assert len({line.count("|") for line in table}) == 1
    assert "7,000 maps/s" in lines[0]
    assert any("small8" in line and "**fast default**" in line for line in table)
    assert any("large8" in line and "loses too much" in line for line in table)


def test_no_two_names_in_the_picture_overlap() -> None:
    crowded = [
        point._replace(maps_per_s=2000 + i, macro_f1=0.93)
        for i, point in enumerate(figure_points(_frontier()))
    ]
    figure = frontier_figure(crowded, "reference", 7000.0)
    figure.savefig(io.BytesIO(), format="png")
    (axes,) = figure.axes
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert {name.split(" ")[0] for name in boxes} == {row.name for row in ROWS}
    for one, other in itertools.combinations(boxes, 2):
        # Exactly touching rows of text is fine.
        assert not boxes[one].padded(-1).overlaps(boxes[other].padded(-1)), (one, other)
