import msgspec
import numpy as np

from control.lineage import Lineage
from control.risk_evidence import visit_of
from control.state import ControlState
from tests.control_streams import MINUTE_MS, SITE, START_MS, process, trace


def lineage_of_one_wafer() -> Lineage:
    """A wafer that was measured on demand before its third step, and then did that step."""
    lineage = Lineage(ControlState(SITE), 168.0)
    at = START_MS
    for module, step, sequence in (
        ("CLEAN-01/A", "clean", 0),
        ("ETCH-01/A", "etch", 1),
        ("MET-01/A", "MET-EXTRA", 2),
        ("CMP-01/A", "cmp", 2),
    ):
        for phase in ("started", "completed"):
            at += MINUTE_MS
            event = process(phase, "W", "L", module, step, sequence, at)
            event_id = f"{phase} {step}"
            assert lineage.record_visit(msgspec.structs.replace(event, event_id=event_id))
    return lineage


def test_the_step_after_a_measurement_on_demand_is_known() -> None:
    lineage = lineage_of_one_wafer()
    wafer = lineage.wafer("W")
    assert wafer is not None
    steps = [(lineage.place(visit).step, visit.completed) for visit in wafer.visits]
    assert steps == [("clean", True), ("etch", True), ("MET-EXTRA", True), ("cmp", True)]
    assert "CMP-01/A" in lineage.modules_of("W")
    last = visit_of(wafer, 2)
    assert last is not None
    assert lineage.place(last).module == "CMP-01/A"


def test_a_trace_counts_once_and_for_its_own_step() -> None:
    lineage = lineage_of_one_wafer()
    event = trace("W", "L", "CMP-01/A", "cmp", 2, START_MS, np.zeros((5, 3)))
    assert lineage.record_trace(event)
    assert not lineage.record_trace(event)
    wafer = lineage.wafer("W")
    assert wafer is not None
    traced = [lineage.place(visit).step for visit in wafer.visits if visit.traced]
    assert traced == ["cmp"]
