"""The synthetic fab: equipment, recipes, lots, hidden state, excursions, and the truth."""

from fab_sim.fab import Fab
from fab_sim.labelled import LabelledMaps, labelled_maps
from fab_sim.scenario import Scenario
from fab_sim.scenario_file import builtin_scenarios, load_scenario
from fab_sim.tally import Tally
from fab_sim.truth import ModuleHour, TrueExcursion, TruthSink, WaferTruth

__all__ = [
    "Fab",
    "LabelledMaps",
    "ModuleHour",
    "Scenario",
    "Tally",
    "TrueExcursion",
    "TruthSink",
    "WaferTruth",
    "builtin_scenarios",
    "labelled_maps",
    "load_scenario",
]
