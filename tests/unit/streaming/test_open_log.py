from pathlib import Path

import pytest

from contracts.errors import ConfigError
from streaming.embedded import EmbeddedLog
from streaming.open import open_log


def test_an_embedded_log_makes_nothing_until_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log.db"
    log = open_log(f"embedded:{path}")
    assert isinstance(log, EmbeddedLog)
    assert not path.parent.exists()
    log.create_topics({"t": 1})
    assert path.is_file()
    log.close()


def test_a_kafka_log_connects_to_nothing_until_it_is_used() -> None:
    pytest.importorskip("kafka")
    log = open_log("kafka://broker-1:9092,broker-2:9092")
    assert type(log).__name__ == "KafkaLog"
    log.close()


@pytest.mark.parametrize(
    "url",
    ["", "embedded:", "log.db", "kafka:host:9092", "kafka://", "kafka://host", "redis://h:1"],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"embedded:PATH"):
        open_log(url)
