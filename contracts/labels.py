"""Names of patterns, as engineers write them and models learn them."""

import re

from contracts.errors import DataError
from contracts.wafer_map import PATTERNS

__all__ = ["MAX_LABEL_NAME", "label_name", "pattern_name"]

MAX_LABEL_NAME = 40
"""Longest name of a pattern, in characters: what the controller remembers and a tile shows."""

# Letters of any script, digits, and what tables, addresses and MLflow's metric names bear.
_NAME = re.compile(rf"[^\W_][\w .-]{{0,{MAX_LABEL_NAME - 1}}}")
# Words the console's filters use.
_TAKEN = frozenset({"any", "unknown"})


def pattern_name(name: str) -> str:
    """A pattern's name as we spell it; names that are not in `PATTERNS` stay as they are.

    >>> pattern_name("Edge_Loc"), pattern_name("near-full"), pattern_name("Mousebite")
    ('Edge-Loc', 'Near-full', 'Mousebite')
    """
    folded = name.strip().lower().replace("_", "-").replace(" ", "-")
    return {pattern.lower(): pattern for pattern in PATTERNS}.get(folded, name.strip())


def label_name(name: str) -> str:
    """The name of a pattern that an engineer gave, known to us or new, in its one spelling.

    >>> label_name(" edge ring "), label_name("Half  moon")
    ('Edge-Ring', 'Half moon')

    Raises:
        DataError: it can be no name.
    """
    spelled = pattern_name(" ".join(name.split()))
    if not _NAME.fullmatch(spelled) or spelled.lower() in _TAKEN:
        raise DataError(
            f"{name[:60]!r} cannot name a pattern: use 1 to {MAX_LABEL_NAME} letters, digits,"
            " spaces, '.', '_' and '-', a letter or digit first, and neither 'any' nor 'unknown'"
        )
    return spelled
