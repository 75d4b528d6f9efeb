"""What the controller takes first: the earliest, and the switch before all that waits."""

from pathlib import Path

from contracts.codec import encode
from contracts.events import AutomationSwitch
from contracts.topics import Stream, topic_name
from streaming.merge import Arrived, Merge
from streaming.open import open_log
from tests.control_streams import SITE, START_MS, state


def test_the_switch_is_taken_before_a_backlog(tmp_path: Path) -> None:
    topics = [topic_name(SITE, stream) for stream in (Stream.EQUIPMENT, Stream.ACTIONS)]
    log = open_log(f"embedded:{tmp_path / 'log.db'}")
    log.create_topics(dict.fromkeys(topics, 1))
    backlog = [state("E-1/A", "etch", START_MS + n) for n in range(20)]
    off = AutomationSwitch(
        event_id="off", site=SITE, time_ms=START_MS + 10**9, automatic=False, by="k", reason="r"
    )
    log.append([encode(event) for event in (*backlog, off)])
    reader = log.reader(topics, "beginning")
    merge = Merge(reader, lambda: log.ends(topics))
    taken = [one.event for one in merge.take(50, 1.0) if isinstance(one, Arrived)]
    assert taken[0] == off
    assert [event.time_ms for event in taken[1:]] == [START_MS + n for n in range(20)]
    reader.close()
    log.close()
