"""Models of sensor traces: virtual metrology, fault detection, defect risk.

`data` holds what a set of traces is, `layouts` reads one; each layout has a loader of its own,
each task a module of its own.
"""

from models.traces.data import Run, TraceSet
from models.traces.layouts import load_traces

__all__ = ["Run", "TraceSet", "load_traces"]
