"""The tasks of trace models by name."""

from contracts.trace_model import Task
from models.traces.task import TraceTask

__all__ = ["task_named"]


def task_named(name: Task) -> TraceTask:
    """The task of this name."""
    # scikit-learn takes a second to import: only what was asked for is.
    if name == "metrology":
        from models.traces.metrology import MetrologyTask

        return MetrologyTask()
    if name == "fault":
        from models.traces.fault import FaultTask

        return FaultTask()
    from models.traces.risk import RiskTask

    return RiskTask()
