"""No sequence of judgements, true or forged, leads to an action on the process or a wrong alert."""

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.codec import encode
from contracts.events import Action, Alert, Event
from control.engine import Engine
from control.policy import load_policy
from tests.control_streams import MINUTE_MS, SITE, START_MS, process, state
from tests.judgement_streams import judgement

_RAW = msgspec.to_builtins(load_policy())
# As eager as a policy may be: whatever is proposed is approved by itself.
_RAW["limits"].update(max_open_actions=100, max_actions_per_hour=100, min_confidence=0.0)
_RAW["approvals"] = dict.fromkeys(_RAW["approvals"], "automatic")
POLICY = msgspec.convert(_RAW, type(load_policy()))

REAL = ("E-1/A", "E-1/B")
GHOSTS = ("E-9/A", "E-1/Z")


@st.composite
def _part(draw: st.DrawFn) -> list[Event]:
    """A run of wafers on a module, judged well or badly, some of it forged."""
    module = draw(st.sampled_from([*REAL, *GHOSTS]))
    at = START_MS + draw(st.integers(0, 50)) * 20 * MINUTE_MS
    first, score = draw(st.integers(0, 200)), draw(st.sampled_from([0.0, 0.99, 5.0, 1e308, None]))
    kind = draw(st.sampled_from(["true", "true", "unvisited", "replayed", "future", "repair"]))
    out: list[Event] = []
    for number in range(draw(st.integers(1, 25))):
        name, when = f"L.{first + number}", at + number * 1000
        if kind == "repair":
            down = draw(st.booleans())
            out.append(state(module, "etch", when, state="engineering" if down else "standby"))
            continue
        if module in REAL and kind != "unvisited":
            out.append(process("completed", name, "L", module, "ETCH", 0, when))
        if kind == "future":
            when += draw(st.sampled_from([10**8, 2**50]))
        said = judgement(name, module, when, score)
        out.append(said)
        if kind == "replayed":
            out += [msgspec.structs.replace(said, event_id=f"{when}-{n}") for n in range(5)]
    return out


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    st.lists(_part(), max_size=12).map(lambda parts: [event for part in parts for event in part])
)
def test_judgements_never_raise_or_act_wrongly(events: list[Event]) -> None:
    engine, told = Engine(POLICY, SITE), []
    distinct: dict[str, set[str]] = {}
    treated: dict[str, set[str]] = {}
    for event in events:
        name = getattr(event, "substrate_id", "")
        if type(event).__name__ == "ProcessEvent":
            treated.setdefault(event.key, set()).add(name)
        elif (getattr(event, "score", None) or 0.0) > 1.0 and name in treated.get(event.key, ()):
            distinct.setdefault(event.key, set()).add(name)
        for answer in engine.handle(event):
            told.append(answer)
            if isinstance(answer, Alert) and answer.status == "open":
                # At least four wafers that were there, however often they were told of.
                assert answer.suspect_module in REAL
                assert len(distinct.get(answer.suspect_module, ())) >= 4
            elif isinstance(answer, Action):
                assert answer.kind == "request_metrology"
    open_on: dict[str, set[str]] = {}
    for answer in told:
        if isinstance(answer, Alert):
            named = open_on.setdefault(answer.suspect_module, set())
            (named.add if answer.status == "open" else named.discard)(answer.alert_id)
    assert all(len(named) <= 1 for named in open_on.values())
    assert Engine(POLICY, SITE, engine.snapshot()).snapshot() == engine.snapshot()
    other = Engine(POLICY, SITE)
    again = [answer for event in events for answer in other.handle(event)]
    assert list(map(encode, again)) == list(map(encode, told))
