"""Made-up requests, a few of what `fabpilot bench fuzz` sends by the ten thousand."""

from fabpilot.benchmarks.fuzz import fuzz


def test_made_up_requests_break_nothing_do_nothing_and_are_seen():
    found = fuzz(200, seed=7, wafers=5)
    assert found.requests == 200
    assert found.server_errors == []
    assert found.actions_taken == 0
    assert found.refused_logged == found.refused > 50
    assert found.audit_intact
    # They reached what is behind the door, too.
    assert found.by_status["200"] + found.by_status.get("422", 0) + found.by_status["404"] > 20
    assert len(found.by_caller) == 7
