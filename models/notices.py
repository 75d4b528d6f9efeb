"""What goes with a data set wherever a model of it goes: its classes, its citation, its licence."""

from collections.abc import Mapping

from models.data import MapSet

__all__ = ["class_table", "notice"]

_WM811K = """\
WM-811K (LSWMD): MIR-WM811K, http://mirlab.org/dataset/public/
Redistribution is allowed with this notice.
M.-J. Wu, J.-S. R. Jang, J.-L. Chen: Wafer Map Failure Pattern Recognition and Similarity Ranking
for Large-Scale Data Sets. IEEE Transactions on Semiconductor Manufacturing 28(1), 2015.
doi 10.1109/TSM.2014.2364237
"""
_MIXEDWM38 = """\
MixedWM38: J. Wang, C. Xu, Z. Yang, J. Zhang, X. Li: Deformable Convolutional Networks for Efficient
Mixed-Type Wafer Defect Pattern Recognition. IEEE Transactions on Semiconductor Manufacturing 33(4),
2020. doi 10.1109/TSM.2020.3020985
Its authors made part of the maps with a generative network, which are not marked.
"""
_SYNTHETIC = "Synthetic wafer maps, made by fabpilot's own fab; no licence applies to them.\n"


def class_table(parts: Mapping[str, MapSet]) -> str:
    """How many maps of each class every part has, as a Markdown table.

    Args:
        parts: name to set, all with the same classes.
    """
    counts = {part: maps.class_counts() for part, maps in parts.items()}
    classes = list(dict.fromkeys(name for held in counts.values() for name in held))
    lines = [_row("class", *counts), _row("---", *("---:" for _ in counts))]
    lines += [_row(name, *(held.get(name, 0) for held in counts.values())) for name in classes]
    lines += [
        _row("maps", *(len(maps) for maps in parts.values())),
        _row("lots", *(len(set(maps.lots().tolist())) for maps in parts.values())),
    ]
    return "\n".join(lines) + "\n"


def notice(source: str) -> str:
    """Citation and licence of a set, by the name of its source.

    Args:
        source: `MapSet.source`. Of a set we do not know, the notice says so.

    >>> print(notice("wm811k.npz").splitlines()[0])
    WM-811K (LSWMD): MIR-WM811K, http://mirlab.org/dataset/public/
    """
    folded = source.lower()
    known = {"sim:": _SYNTHETIC, "wm811k": _WM811K, "lswmd": _WM811K, "mixedwm38": _MIXEDWM38}
    found = list(dict.fromkeys(text for name, text in known.items() if name in folded))
    if not found:
        return (
            f"{source}: fabpilot knows no citation or licence of it; ask whoever gave it to you.\n"
        )
    return "\n".join(found)


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
