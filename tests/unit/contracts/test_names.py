"""Ids, topics, time, errors and model cards."""

import inspect
import re

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import errors
from contracts.arrays import Array
from contracts.clock import ManualClock, SystemClock, rfc3339
from contracts.errors import ConfigError, ModelFileError
from contracts.ids import check_site, derived_id
from contracts.model_file import ModelCard, decode_card, encode_card, predicted_labels
from contracts.topics import STREAM_SPECS, Stream, parse_topic, topic_name


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_derived_ids_are_equal_only_for_equal_parts(first: list[str], second: list[str]) -> None:
    assert (derived_id(*first) == derived_id(*second)) == (first == second)


@pytest.mark.parametrize("site", ["", "KR1", "a.b", "../etc", "a" * 33, "-a", "a\n"])
def test_bad_site_names_are_refused(site: str) -> None:
    with pytest.raises(ConfigError):
        check_site(site)


@pytest.mark.parametrize("stream", list(Stream))
def test_topics_name_site_and_stream(stream: Stream) -> None:
    assert parse_topic(topic_name("kr-2", stream)) == ("kr-2", stream)
    assert STREAM_SPECS[stream].partitions >= 1


@pytest.mark.parametrize("topic", ["", "fab.kr1", "fab.kr1.nothing", "x.kr1.traces", "fab..traces"])
def test_foreign_topics_are_refused(topic: str) -> None:
    with pytest.raises(ConfigError):
        parse_topic(topic)


def test_clocks() -> None:
    clock = ManualClock(5)
    clock.advance(10)
    assert clock.now_ms() == 15
    assert SystemClock().now_ms() > 1_700_000_000_000
    assert rfc3339(1_767_268_800_123) == "2026-01-01T12:00:00.123Z"


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([│├└─ ]*)([A-Za-z]+Error)\b", line):
            drawn.append((len(match[1]) // 4, match[2]))
    parents: dict[int, str] = {}
    for depth, name in drawn:
        parents[depth] = name
        error = getattr(errors, name)
        if depth:
            assert error.__base__.__name__ == parents[depth - 1]
    defined = {n for n, _ in inspect.getmembers(errors, inspect.isclass) if n.endswith("Error")}
    assert {name for _, name in drawn} == defined == set(errors.__all__)


def card(**changes: object) -> ModelCard:
    values: dict[str, object] = {
        "name": "wafer-map", "architecture": "test", "labels": ("None", "Center", "Scratch"),
        "multi_label": False, "thresholds": (0.5, 0.5, 0.5), "canonical_size": 64,
        "data_fingerprint": "f", "metrics": {"macro_f1": 0.9}, "code_version": "0",
        "golden_maps": Array.of(np.zeros((1, 64, 64), np.uint8)),
        "golden_probabilities": Array.of(np.zeros((1, 3), np.float32)),
    }  # fmt: skip
    return ModelCard(**{**values, **changes})  # type: ignore[arg-type]


def test_cards_round_trip() -> None:
    assert decode_card(encode_card(card())) == card()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"thresholds": (0.5,)},
        {"labels": ("None", "None", "Scratch")},
        {"golden_maps": Array.of(np.zeros((1, 32, 32), np.uint8))},
        {"golden_probabilities": Array.of(np.zeros((2, 3), np.float32))},
        {"canonical_size": 5},
    ],
)
def test_cards_that_contradict_themselves_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ModelFileError):
        decode_card(encode_card(card(**changes)))


def test_unknown_keys_and_noise_are_refused() -> None:
    plain = msgspec.json.decode(encode_card(card()))
    plain["surprise"] = 1
    with pytest.raises(ModelFileError, match="surprise"):
        decode_card(msgspec.json.encode(plain).decode())
    with pytest.raises(ModelFileError):
        decode_card("not json")


def test_predicted_labels() -> None:
    single, multi = card(), card(multi_label=True, thresholds=(0.5, 0.4, 0.9))
    row = np.array([0.45, 0.5, 0.05], np.float32)
    assert predicted_labels(single, row) == ("Center",)
    assert predicted_labels(multi, row) == ("Center",)
    assert predicted_labels(multi, np.array([0, 0.8, 0.95], np.float32)) == ("Center", "Scratch")
    assert predicted_labels(multi, np.array([0.9, 0.1, 0.1], np.float32)) == ("None",)
