"""The synthetic fab: equipment, recipes, lots, hidden state, excursions, and the truth."""

from fab_sim.fab import Fab
from fab_sim.labelled import LabelledMaps, labelled_maps
from fab_sim.scenario import Scenario, builtin_scenarios, load_scenario
from fab_sim.truth import TrueExcursion

__all__ = [
    "Fab",
    "LabelledMaps",
    "Scenario",
    "TrueExcursion",
    "builtin_scenarios",
    "labelled_maps",
    "load_scenario",
]
