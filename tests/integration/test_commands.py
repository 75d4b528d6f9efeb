"""The commands, as their users run them, on a small model made without torch."""

import json
from pathlib import Path

import numpy as np
import pytest

from contracts.events import EVENT_TYPES
from tests.command_line import Home, error_of, npz
from tests.factories import wafer_grid
from tests.model_files import write_model

MAPS = [wafer_grid(20 + i % 7, 22 + i % 5, 0.1, i) for i in range(300)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Replayed, processed and controlled once; tests look at what came of it."""
    folder = tmp_path_factory.mktemp("home")
    home = Home(folder, FABPILOT_MODEL=str(write_model(folder / "m.onnx")))
    npz(folder / "maps.npz", MAPS)
    return home


@pytest.fixture(scope="module")
def replayed(home: Home) -> Home:
    report = home.json("replay", str(home.folder / "maps.npz"))
    assert report["published"] == 300
    return home


@pytest.fixture(scope="module")
def processed(replayed: Home) -> Home:
    report = replayed.json("process", "--until-idle")
    assert (report["consumed"], report["produced"], report["dead_letters"]) == (300, 300, 0)
    assert report["wafers_per_s"] > 0
    assert report["provider"] == "CPUExecutionProvider"
    return replayed


def test_every_map_has_exactly_one_prediction(processed: Home) -> None:
    maps, predictions = processed.tail("wafer_maps"), processed.tail("predictions")
    ids = [record["event_id"] for record in maps]
    assert sorted(p["data"]["input_id"] for p in predictions) == sorted(ids)
    first = predictions[0]
    assert first.keys() >= {"topic", "partition", "offset", "key", "type", "event_id", "data"}
    assert first["topic"] == "fab.kr1.predictions"
    assert first["type"] in EVENT_TYPES


def test_processing_again_finds_nothing_to_do(processed: Home) -> None:
    assert processed.json("process", "--until-idle")["consumed"] == 0


def test_another_group_processes_everything_again_under_the_same_names(processed: Home) -> None:
    report = processed.json("process", "--until-idle", "--group", "second")
    assert report["consumed"] == 300
    predictions = processed.tail("predictions")
    assert len(predictions) == 600
    assert len({p["event_id"] for p in predictions}) == 300


def test_a_replay_is_not_doubled_unless_asked_for(replayed: Home) -> None:
    path = str(replayed.folder / "maps.npz")
    again = replayed.json("replay", path, "--site", "kr2", "--limit", "100")
    assert again["published"] == 100
    more = replayed.json("replay", path, "--site", "kr2")
    assert (more["published"], more["skipped"]) == (200, 100)
    none = replayed.json("replay", path, "--site", "kr2")
    assert (none["published"], none["skipped"]) == (0, 300)
    once_more = replayed.json("replay", path, "--site", "kr2", "--again", "--limit", "10")
    assert once_more["published"] == 10
    assert len(replayed.tail("wafer_maps", "--site", "kr2")) == 310


def test_bad_maps_become_dead_letters_with_the_reason(home: Home) -> None:
    grids = [
        wafer_grid(20, 20),
        np.ones((1, 1), np.uint8),
        np.ones((5000, 5000), np.uint8),
        np.full((20, 20), 7, np.uint8),
        np.zeros((20, 20), np.uint8),
        wafer_grid(20, 20, seed=1),
    ]
    path = npz(home.folder / "bad.npz", grids)
    report = home.json("replay", str(path), "--site", "bad1")
    assert report["published"] + report["dead_letters"] == len(grids)
    done = home.json("process", "--until-idle", "--site", "bad1")
    assert done["produced"] == 2
    letters = [letter["data"] for letter in home.tail("dead_letters", "--site", "bad1")]
    reasons = " | ".join(letter["reason"] for letter in letters)
    assert len(letters) == 4
    for said in ("1x1", "bytes; a record may have", "this grid has 7", "0 dies"):
        assert said in reasons
    assert next(x for x in letters if "may have" in x["reason"])["value_bytes"] == 25_000_000


def test_the_controller_takes_in_what_the_fab_does(home: Home) -> None:
    fab = home.json("sim", "run", "--scenario", "demo", "--wafers", "30", "--site", "q1")
    assert fab["wafers"] >= 30
    controlled = home.json("control", "--until-idle", "--site", "q1")
    read = ("process", "equipment", "traces", "metrology", "alerts", "actions")
    records = sum(len(home.tail(stream, "--site", "q1")) for stream in read)
    assert controlled["consumed"] == records
    assert home.json("control", "--until-idle", "--site", "q1")["consumed"] == 0


def test_the_switch_over_automatic_actions(home: Home) -> None:
    arguments = ("--by", "kim", "--reason", "wrong tool", "--site", "sw1")
    switched = home.json("automation", "off", *arguments)
    assert (switched["automatic"], switched["by"]) == (False, "kim")
    assert home.json("automation", "on", *arguments)["automatic"] is True
    assert home.json("control", "--until-idle", "--site", "sw1")["consumed"] == 2
    events = [line["data"] for line in home.tail("actions", "--site", "sw1")]
    assert [event["automatic"] for event in events] == [False, True]
    message = error_of(home.run("automation", "off", "--by", " ", "--reason", "x", code=1))
    assert "--by" in message


def test_a_fab_goes_on_where_it_was(home: Home) -> None:
    first = home.json("sim", "run", "--scenario", "demo", "--wafers", "20", "--site", "s1")
    second = home.json("sim", "run", "--scenario", "demo", "--wafers", "60", "--site", "s1")
    assert second["tick"] > first["tick"]
    substrates = [r["data"]["substrate_id"] for r in home.tail("wafer_maps", "--site", "s1")]
    assert len(substrates) == len(set(substrates)) >= 60
    other = home.run("sim", "run", "--scenario", "quiet", "--site", "s1", code=1)
    assert "another scenario or seed" in error_of(other)


def test_a_fabs_bytes_are_its_seeds_alone(tmp_path: Path) -> None:
    def records(folder: str, seed: int) -> list[str]:
        home = Home(tmp_path / folder)
        home.json("sim", "run", "--scenario", "demo", "--wafers", "5", "--seed", str(seed))
        streams = ("process", "traces", "metrology", "wafer_maps", "equipment")
        return [json.dumps(record["data"]) for name in streams for record in home.tail(name)]

    first = records("a", 5)
    assert records("b", 5) == first
    assert records("c", 6) != first


def test_a_judged_run_reports_and_writes_what_really_happened(home: Home) -> None:
    arguments = ("sim", "run", "--scenario", "demo", "--lots", "16", "--seed", "2", "--site", "j1")
    truth = home.folder / "truth"
    run = home.json(*arguments, "--policy", "none", "--out", str(truth))
    assert run["wafers"] == 400
    assert 0.5 < run["die_yield"] < 1.0
    assert run["value"] > 0
    assert {item["mode"] for item in run["excursions"]} == {
        "showerhead_clogging",
        "rf_match_drift",
        "robot_blade_scratch",
    }
    assert {path.name for path in truth.iterdir()} == {
        "wafers.parquet",
        "dies.parquet",
        "hits.parquet",
        "module_hours.parquet",
    }
    # Nothing of it is on the log.
    assert home.tail("wafer_maps", "--site", "j1") == []
    again = home.run(*arguments, "--policy", "none", "--out", str(truth), code=1)
    assert "earlier run" in error_of(again)
    advised = home.json(*arguments, "--policy", "advisor")
    assert advised["policy"] == "advisor"


def test_a_wrong_scenario_leaves_nothing_behind(home: Home) -> None:
    wrong = home.folder / "wrong.yaml"
    wrong.write_text("name: wrong\ndescription: x\nlots:\n  total: 1000000000\n")
    out = home.folder / "never"
    done = home.run("sim", "run", "--scenario", str(wrong), "--out", str(out), code=1)
    assert "wrong.yaml, line 4, key 'lots.total'" in error_of(done)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("replay", "missing.npz"), "cannot be read"),
        (("sim", "run"), "name a scenario"),
        (("sim", "run", "--scenario", "nothing"), "no scenario 'nothing'"),
        (("sim", "run", "--scenario", "quiet", "--policy", "magic"), "one of none, spc"),
        (("sim", "run", "--scenario", "quiet", "--policy", "spc", "--wafers", "9"), "on the log"),
        (("sim", "run", "--scenario", "quiet", "--start", "soon"), "write a time"),
        (("process", "--model", "missing.onnx", "--until-idle"), "neither a file"),
        (("process", "--model", "models:/wafer-map@champion", "--until-idle"), "fabpilot train"),
        (("process", "--site", "KR1"), "no site name|not a site name"),
        (("evaluate", "missing.onnx", "--data", "missing.npz"), "neither a file"),
        (("train", "wafer-map", "--data", "missing.npz"), "cannot be read"),
        (("train", "wafer-map", "--data", "sim:mixed", "--budget", "soon"), "is not a duration"),
        (("models", "promote"), "no challenger"),
        (("models", "promote", "--force"), "--reason"),
        (("models", "promote", "--reason", "because"), "--force"),
        (("models", "rollback"), "no previous champion"),
    ],
)
def test_mistakes_get_one_clear_message(home: Home, arguments: tuple[str, ...], said: str) -> None:
    done = home.run(*arguments, code=1)
    assert done.stdout == ""
    assert any(part in error_of(done) for part in said.split("|")), done.stderr


def test_files_that_are_no_maps(home: Home, tmp_path: Path) -> None:
    empty = tmp_path / "empty.npz"
    empty.touch()
    text = tmp_path / "text.npz"
    text.write_text("not an archive")
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, maps=np.array([{"a": 1}], dtype=object))
    cut = tmp_path / "cut.npz"
    cut.write_bytes((home.folder / "maps.npz").read_bytes()[:500])
    for path, said in [
        (empty, "is empty"),
        (text, "not an .npz"),
        (pickled, "pickled objects"),
        (cut, "cut.npz"),
    ]:
        for command in (("replay", str(path)), ("train", "wafer-map", "--data", str(path))):
            assert said in error_of(home.run(*command, code=1))


def test_settings_that_are_none(tmp_path: Path) -> None:
    typo = Home(tmp_path, FABPILOT_DEVISE="cpu")
    assert "did you mean FABPILOT_DEVICE" in error_of(typo.run("process", code=1))
    wrong = Home(tmp_path, FABPILOT_DEVICE="gpu")
    assert "FABPILOT_DEVICE" in error_of(wrong.run("process", code=1))
    log = Home(tmp_path, FABPILOT_LOG="rabbit://x")
    assert "names no log" in error_of(log.run("log", "tail", "alerts", "--until-end", code=1))


def test_a_policy_with_an_unknown_key(home: Home, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    default = Path("control/default_policy.yaml").read_text()
    policy.write_text(default.replace("max_open_actions", "max_open_acts"))
    strict = Home(home.folder, FABPILOT_POLICY=str(policy))
    message = error_of(strict.run("control", "--until-idle", code=1))
    assert "policy.yaml" in message
    assert "max_open_acts" in message


def test_doctor_says_what_works(home: Home) -> None:
    done = home.run("doctor", "--json")
    report = json.loads(done.stdout)
    found = {check["name"]: check["status"] for check in report["checks"]}
    assert report["ok"] is True
    assert found["python"] == found["onnxruntime"] == found["log"] == "ok"
    full = Home(home.folder, FABPILOT_LOG=f"embedded:{home.folder / 'm.onnx'}")
    broken = json.loads(full.run("doctor", "--json", code=1).stdout)
    assert "bad" in {check["status"] for check in broken["checks"]}


def test_help_has_examples_for_every_command(home: Home) -> None:
    assert "demo" in home.run("--help").stdout
    for command in ("demo", "replay", "process", "control", "console", "evaluate"):
        assert f"fabpilot {command}" in home.run(command, "--help").stdout
    assert home.run("--version").stdout.startswith("fabpilot 0.")


def test_bench_stream_measures_its_own_ceilings(home: Home) -> None:
    path = str(home.folder / "maps.npz")
    report = home.json("bench", "stream", "--wafers", "600", "--data", path)
    names = ("wafers_per_s", "consume_per_s", "score_per_s", "produce_per_s", "bound_per_s")
    assert all(report[name] > 0 for name in names)
    serial = 1 / sum(1 / report[name] for name in names[1:4])
    assert report["bound_per_s"] == pytest.approx(serial, rel=1e-6)
    assert report["ratio"] == pytest.approx(report["wafers_per_s"] / serial, rel=1e-6)
