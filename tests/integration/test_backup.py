"""A backup made while a site works, and what a site restored from it does."""

import errno
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import IO

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient
from sqlalchemy.engine import URL

from contracts.errors import ConfigError
from fabpilot.backup import back_up, restore
from fabpilot.postgres_tools import restore_database
from fabpilot.settings import Settings
from streaming.database import open_engine
from tests.command_line import Command, Home, error_of
from tests.model_files import write_model
from tests.postgres_server import PostgresServer

# An hour of the fab a second: it is still at work when the backup begins, on a slow machine too.
SPEED = "3600"


def predictions_per_map(home: Home) -> dict[str, int]:
    """How many predictions each wafer map on the log has."""
    counts = {record["event_id"]: 0 for record in home.tail("wafer_maps")}
    for record in home.tail("predictions"):
        counts[record["data"]["input_id"]] += 1
    return counts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model") / "m.onnx"))


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory, model: str) -> tuple[Path, Home]:
    """A backup from the midst of a site's work, and the site, stopped some time later."""
    folder = tmp_path_factory.mktemp("site")
    home = Home(folder / "home", FABPILOT_MODEL=model)
    target = folder / "site.tar"
    with (
        Command(home, "process") as process,
        Command(home, "control") as control,
        Command(home, "sim", "run", "--scenario", "demo", "--speed", SPEED) as fab,
    ):
        while len(home.tail("wafer_maps")) < 10:
            assert fab.process.poll() is None
        report = home.json("backup", str(target))
        assert fab.process.poll() is None
        assert report["parts"]["log"] == report["parts"]["database"] == 1
        assert fab.stop() == process.stop() == control.stop() == 0
    return target, home


def test_a_backup_of_format_1_is_read(backed_up: tuple[Path, Home], tmp_path: Path) -> None:
    """It is format 2 without the parts that came with it."""
    target, _ = backed_up
    content = target.read_bytes()
    earlier = content.replace(b'"version": 2', b'"version": 1', 1)
    assert earlier != content
    (tmp_path / "old.tar").write_bytes(earlier)
    home = Home(tmp_path / "new")
    home.json("restore", str(tmp_path / "old.tar"))
    assert len(home.tail("wafer_maps")) >= 10


def test_a_restored_site_goes_on_and_does_everything_once(
    backed_up: tuple[Path, Home], tmp_path: Path, model: str
) -> None:
    target, original = backed_up
    assert target.stat().st_mode & 0o777 == 0o600
    home = Home(tmp_path / "new", FABPILOT_MODEL=model)
    restored = home.json("restore", str(target))
    assert restored["made_at"]
    before = predictions_per_map(home)
    assert len(before) >= 10

    goal = str(len(original.tail("wafer_maps")) + 25)
    for each in (home, original):
        each.run("sim", "run", "--scenario", "demo", "--wafers", goal)
        each.run("process", "--until-idle")
        each.run("control", "--until-idle")
    # Every wafer is there once and has one prediction; the same wafers as without the disaster.
    counts = predictions_per_map(home)
    assert set(counts.values()) == {1}
    assert counts.keys() == predictions_per_map(original).keys()
    # And the alerts and actions are those that there would have been.
    for stream in ("alerts", "actions"):
        ids = [[r["event_id"] for r in each.tail(stream)] for each in (home, original)]
        assert len(set(ids[0])) == len(ids[0])
        assert ids[0] == ids[1]


def test_nothing_is_overwritten(backed_up: tuple[Path, Home]) -> None:
    target, home = backed_up
    before = (home.folder / "log.db").stat().st_mtime_ns
    assert "is there already" in error_of(home.run("restore", str(target), code=1))
    assert "never overwritten" in error_of(home.run("backup", str(target), code=1))
    assert (home.folder / "log.db").stat().st_mtime_ns == before


def test_a_damaged_backup_changes_nothing(backed_up: tuple[Path, Home], tmp_path: Path) -> None:
    content = bytearray(backed_up[0].read_bytes())
    damaged = tmp_path / "damaged.tar"
    home = Home(tmp_path / "new")
    # A bit in the middle; an end that is missing; something else altogether; a foreign tar.
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert "damaged" in error_of(home.run("restore", str(damaged), code=1))
    damaged.write_bytes(content[: len(content) // 3])
    assert "damaged" in error_of(home.run("restore", str(damaged), code=1))
    damaged.write_bytes(b"no tar at all")
    assert "no backup of fabpilot" in error_of(home.run("restore", str(damaged), code=1))
    with tarfile.open(damaged, "w") as tar:
        tar.add(__file__, "../../outside")
    assert "no backup of fabpilot" in error_of(home.run("restore", str(damaged), code=1))
    assert not home.folder.exists() or not list(home.folder.iterdir())


@pytest.mark.parametrize("place", ["../outside.json", "/outside.json", "a/../../outside.json", ""])
def test_a_part_stays_inside_its_folder(tmp_path: Path, place: str) -> None:
    home = Home(tmp_path / "old")
    home.folder.mkdir()
    (home.folder / "fab.kr1.json").write_text("{}")
    with closing(sqlite3.connect(home.folder / "log.db")) as log:
        log.execute("CREATE TABLE t (n)")
    honest, forged = tmp_path / "honest.tar", tmp_path / "forged.tar"
    home.run("backup", str(honest))
    with tarfile.open(honest) as source, tarfile.open(forged, "w") as target:
        for member in source.getmembers():
            content = source.extractfile(member)
            assert content is not None
            data = content.read()
            if member.name == "manifest.json":
                manifest = json.loads(data)
                for part in manifest["parts"]:
                    if part["kind"] == "home":
                        part["path"] = place
                data = json.dumps(manifest).encode()
                member.size = len(data)
            target.addfile(member, BytesIO(data))
    new = Home(tmp_path / "new")
    assert "no place for one" in error_of(new.run("restore", str(forged), code=1))
    assert not (tmp_path / "outside.json").exists()
    assert not new.folder.exists() or not list(new.folder.iterdir())


def test_models_are_found_where_they_were_restored(tmp_path: Path) -> None:
    home = Home(tmp_path / "old")
    home.run("train", "wafer-map", "--data", "sim:mixed", "--wafers", "600", "--budget", "5s")
    home.run("backup", str(tmp_path / "site.tar"))
    # Gone for good, so that nothing can be found there by accident.
    os.rename(home.folder, tmp_path / "lost")
    new = Home(tmp_path / "new")
    new.run("restore", str(tmp_path / "site.tar"))
    listed = new.json("models", "list")
    assert listed
    report = new.json(
        "evaluate", "models:/wafer-map@champion", "--data", "sim:mixed", "--wafers", "50"
    )
    assert report["n"] == 50


@pytest.mark.postgres
def test_a_database_on_postgres_is_dumped_and_restored(
    tmp_path: Path, postgres_url: str, postgres_server: object
) -> None:
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE told (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO told VALUES (42)"))
    home = Home(tmp_path / "old", FABPILOT_DATABASE=postgres_url)
    done = home.run("backup", str(tmp_path / "site.tar"))
    assert "only-for-tests" not in done.stdout + done.stderr
    # Into a database that is not empty: refused, and nothing changed.
    refused = Home(tmp_path / "new", FABPILOT_DATABASE=postgres_url)
    message = error_of(refused.run("restore", str(tmp_path / "site.tar"), code=1))
    assert "pg_restore" in message
    assert "only-for-tests" not in message
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE told"))
    new = Home(tmp_path / "newer", FABPILOT_DATABASE=postgres_url)
    new.run("restore", str(tmp_path / "site.tar"))
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT n FROM told")).scalar_one() == 42
    engine.dispose()


def test_a_restore_that_finds_no_room_leaves_the_place_as_empty_as_it_was(
    backed_up: tuple[Path, Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _ = backed_up
    settings = Settings(home=tmp_path / "new")
    move, moved = shutil.move, []

    def full(source: Path, place: Path) -> None:
        if moved:
            place.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        moved.append(move(source, place))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", full)
        with pytest.raises(ConfigError, match=r"No space left on device.*make room"):
            restore(settings, target)
    assert moved
    assert not [path for path in settings.home.rglob("*") if path.is_file()]
    restore(settings, target)
    assert (settings.home / "log.db").exists()


class ServersRegistry:
    """What an MLflow server keeps: tables of its own on PostgreSQL, and a folder of artifacts."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.environment = {
            "FABPILOT_MLFLOW": "http://127.0.0.1:1",
            "FABPILOT_MLFLOW_DATABASE": url,
            "FABPILOT_MLFLOW_ARTIFACTS": str(folder),
        }

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.url, self.url)

    def register(self, name: str, content: bytes) -> None:
        """A version as the server leaves it: files first, then the row that names them."""
        place = self.folder / "1" / name / "artifacts" / "model"
        place.mkdir(parents=True)
        (place / "model.onnx").write_bytes(content)
        if not self.client.search_registered_models("name='wafer-map'"):
            self.client.create_registered_model("wafer-map")
        source = f"mlflow-artifacts:/1/{name}/artifacts/model"
        made = self.client.create_model_version("wafer-map", source)
        self.client.set_registered_model_alias("wafer-map", "champion", str(made.version))


@pytest.mark.postgres
@pytest.mark.slow
def test_the_registry_of_a_server_is_restored_with_its_artifacts(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    databases = [postgres_server.create_database() for _ in range(3)]
    site, registry, empty = map(postgres_server.url, databases)
    engine = open_engine(site)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE told (n INTEGER)"))
    old = ServersRegistry(registry, tmp_path / "artifacts")
    old.register("first", b"one")
    old.register("second", b"two" * 100_000)
    target = tmp_path / "site.tar"
    home = Home(tmp_path / "old", FABPILOT_DATABASE=site, **old.environment)
    report = home.json("backup", str(target))
    assert report["parts"] == {"postgres": 1, "registry": 1, "artifact": 2}
    assert not [one for one in report["missing"] if "registry" in one]

    new = ServersRegistry(empty, tmp_path / "new-artifacts")
    there = Home(tmp_path / "new", FABPILOT_DATABASE=site, **new.environment)
    # The site's database is not empty: nothing is written anywhere.
    assert "has tables already" in error_of(there.run("restore", str(target), code=1))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE told"))
    # A restore that fails after databases were filled leaves both of them empty again.
    settings = Settings(
        home=tmp_path / "newest",
        database=site,
        mlflow=new.environment["FABPILOT_MLFLOW"],
        mlflow_database=empty,
        mlflow_artifacts=new.folder,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "fabpilot.backup.restore_database", FailsAt(2, "fabpilot.backup", restore_database)
        )
        with pytest.raises(ConfigError, match="on purpose"):
            restore(settings, target)
    assert not sa.inspect(engine).get_table_names()
    assert not [path for path in new.folder.rglob("*") if path.is_file()]

    restore(settings, target)
    champion = new.client.get_model_version_by_alias("wafer-map", "champion")
    assert str(champion.version) == "2"
    place = new.folder / champion.source.removeprefix("mlflow-artifacts:/")
    assert (place / "model.onnx").read_bytes() == b"two" * 100_000
    engine.dispose()
    # A folder that has not what the registry names is the wrong one.
    (place / "model.onnx").unlink()
    place.rmdir()
    wrong = Home(tmp_path / "wrong", FABPILOT_DATABASE=site, **new.environment)
    message = error_of(wrong.run("backup", str(tmp_path / "wrong.tar"), code=1))
    assert "has no files of version 2" in message
    assert "only-for-tests" not in message
    assert not (tmp_path / "wrong.tar").exists()
    for name in databases:
        postgres_server.drop_database(name)


class FailsAt:
    """Does what it stands for, and fails at one call."""

    def __init__(self, call: int, where: str, real: Callable[[URL, Path], None]) -> None:
        self._left, self._where, self._real = call, where, real

    def __call__(self, database: URL, source: Path) -> None:
        self._left -= 1
        if not self._left:
            raise ConfigError(f"{self._where} failed on purpose")
        self._real(database, source)


def test_a_file_that_changes_while_it_is_copied_makes_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with closing(sqlite3.connect(home / "log.db")) as log:
        log.execute("CREATE TABLE t (n)")
    written = home / "fab.kr1.json"
    written.write_text("{}")
    real = tarfile.TarFile.addfile

    def addfile(tar: tarfile.TarFile, info: tarfile.TarInfo, source: IO[bytes]) -> None:
        real(tar, info, source)
        written.write_text("{...}")

    monkeypatch.setattr(tarfile.TarFile, "addfile", addfile)
    with pytest.raises(ConfigError, match="changed while it was copied"):
        back_up(Settings(home=home), tmp_path / "site.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
