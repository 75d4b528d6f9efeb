import pytest

from console.headline import headline
from console.strings import strings_for
from console.times import full_time
from contracts.errors import ConfigError
from tests.console_events import edge_ring_alert


def say(language="en", **changed):
    return headline(edge_ring_alert(33, **changed), strings_for(language), "Asia/Seoul")


def test_the_headline_says_what_where_when_and_how_sure():
    assert say(affected_count=11, examined_count=14) == (
        "Edge-Ring on 11 of 14 wafers after ETCH-04/B since 21:20, 0.3 % elsewhere;"
        " rf_reflected_w high, 0.82"
    )


def test_the_same_in_korean():
    assert "웨이퍼 14장 중 11장에서 Edge-Ring" in say("ko", affected_count=11, examined_count=14)


def test_without_a_suspect_it_says_so():
    text = say(suspect_module="", suspect_equipment="", shifts=())
    assert text.endswith("cause inconclusive")
    assert "elsewhere" not in text


def test_a_fault_seen_in_traces_alone_has_no_pattern():
    assert say(pattern="", examined_count=0).startswith("Fault in traces after ETCH-04/B")


def test_the_shift_furthest_from_normal_is_named_with_its_side():
    shifts = edge_ring_alert(3).shifts
    low = [type(shifts[0])(variable="flow_sccm", recipe_id="R", mean=1, normal=9, spread=1, z=-40)]
    assert "flow_sccm low" in say(shifts=(*shifts, *low))


def test_an_unknown_pattern_asks_for_a_name():
    text = say(
        kind="unknown",
        pattern="",
        suspect_module="",
        affected_count=7,
        examined_count=20,
        shifts=(),
    )
    assert text == "Unknown pattern on 7 of 20 wafers since 21:20; look at them and name it"


def test_drift_says_what_changed_most():
    shift = edge_ring_alert(3).shifts[0]
    loc = type(shift)(variable="Loc", recipe_id="", mean=0.3, normal=0.1, spread=0.3, z=0.7)
    text = say(kind="drift", pattern="", suspect_module="", examined_count=250, shifts=(loc,))
    assert text == "The latest 250 wafers look different to the model since 21:20; Loc high"


def test_times_carry_their_offset():
    assert full_time(0, "America/New_York") == "1969-12-31 19:00:00 -05:00"
    with pytest.raises(ConfigError, match="IANA"):
        full_time(0, "Mars/Olympus")
