"""What trackers store of a run is what the log says, also when the run is cut off and goes on."""

import json
import logging
import os
import sqlite3
import struct
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from procir.errors import ConfigError
from procir.train import trackers
from procir.train.contrastive import train
from procir.train.log import read_log
from procir.train.trackers import NAME_FILE, open_trackers
from tracker_worker import TRACKERS
from training import crowded_split, fresh_model, settings

WORKER = Path(__file__).parents[1] / "tracker_worker.py"
needs_trackio = pytest.mark.skipif(
    "trackio" not in TRACKERS, reason="trackio is not installed: pip install 'procir[trackio]'"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that was cut off and went on, with both trackers writing to the disk alone."""
    folder = tmp_path_factory.mktemp("tracked")
    environment = {
        **os.environ, "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "TRACKIO_DIR": str(folder / "trackio"),
        "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    for more in ([], ["--resume"]):
        command = [sys.executable, str(WORKER), str(folder / "mine"), str(folder), *more]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "mine"


@pytest.fixture(scope="module")
def logged(run):
    """By step and kind: the numbers of the log."""
    return {(row.pop("step"), row.pop("kind")): row for row in read_log(run)}


def kept(numbers):
    """The last values of each step, by step and kind."""
    found = {}
    for step, values in numbers:
        for name, value in values.items():
            kind, _, short = name.partition("/")
            found.setdefault((step, kind), {})[short] = value
    return found


def assert_same(found, logged):
    assert found.keys() == logged.keys()
    for place, numbers in logged.items():
        assert found[place] == pytest.approx(numbers, rel=1e-6), place


def framed(content):
    """The records of a LevelDB log, which wandb's files are behind their first 7 bytes."""
    at, parts = 7, []
    while at < len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts.append(content[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the end of one
            yield b"".join(parts)
            parts = []


def wandb_files(run):
    """What wandb's files hold, one list of records for each."""
    from wandb.proto.wandb_internal_pb2 import Record

    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    name = (run / NAME_FILE).read_text().strip()
    assert [file.stem for file in files] == [f"run-{name}"] * 2  # the run, and what came after it was resumed
    return [[Record.FromString(content) for content in framed(file.read_bytes())] for file in files]


def trackio_rows(run, query):
    (file,) = [path for path in (run.parent / "trackio").glob("*.db") if path.stem.startswith("procir")]
    with sqlite3.connect(file) as connection:
        return connection.execute(query).fetchall()


def assert_settings(found):
    wanted = settings(max_steps=6, save_every=3, log_every=1)
    assert (found["batch_size"], found["max_steps"], found["learning_rate"]) == (7, 6, wanted.learning_rate)
    assert found["variant"] == {"two_turns": True, "alignment": True, "cot": False}
    assert found.keys() >= {field.name for field in fields(wanted)}


def test_wandb_has_the_numbers_of_the_log(run, logged):
    told = []
    for record in (record for file in wandb_files(run) for record in file):
        items = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        values = {key: json.loads(value) for key, value in items.items()}
        if values:
            numbers = {key: value for key, value in values.items() if key.startswith(("train/", "eval/"))}
            told.append((values["step"], numbers))
    assert_same(kept(told), logged)


def test_wandb_has_the_settings(run):
    for file in wandb_files(run):
        (begun,) = [record.run for record in file if record.WhichOneof("record_type") == "run"]
        assert begun.run_id == begun.display_name == (run / NAME_FILE).read_text().strip()
        assert_settings({item.key: json.loads(item.value_json) for item in begun.config.update})


@needs_trackio
def test_trackio_has_the_settings(run):
    rows = trackio_rows(run, "SELECT run_name, config FROM configs")
    assert {name for name, _ in rows} == {(run / NAME_FILE).read_text().strip()}
    for _, config in rows:
        assert_settings(json.loads(config))


@needs_trackio
def test_trackio_has_the_numbers_of_the_log(run, logged):
    rows = trackio_rows(run, "SELECT run_name, step, metrics FROM metrics ORDER BY id")
    assert {name for name, *_ in rows} == {(run / NAME_FILE).read_text().strip()}
    assert_same(kept((step, json.loads(metrics)) for _, step, metrics in rows), logged)


def test_a_tracker_that_fails_is_left_alone_and_said_to_be(tmp_path, monkeypatch, caplog):
    class Broken:
        def __init__(self, *_):
            self.taken = 0

        def log(self, step, numbers):
            self.taken += 1
            if self.taken == 3:
                raise OSError("no route to host")

        def close(self):
            raise AssertionError("a tracker that failed is not asked again")

    monkeypatch.setitem(trackers._KINDS, "wandb", Broken)
    run = settings(log_every=1, trackers=("wandb",))
    with caplog.at_level(logging.WARNING, "procir"):
        train(fresh_model(), crowded_split(tmp_path), run, tmp_path / "out", data_hash="x")
    warnings = [row["text"] for row in read_log(tmp_path / "out") if row["kind"] == "warning"]
    assert warnings == ["wandb takes no more numbers (no route to host); log.jsonl has all of them"]
    assert warnings[0] in caplog.text
    assert max(row["step"] for row in read_log(tmp_path / "out")) == 4


class Lasting:
    """Takes everything, and cannot end."""

    ended = 0

    def __init__(self, *_):
        pass

    def log(self, step, numbers):
        pass

    def close(self):
        Lasting.ended += 1
        raise OSError("no route to host")


def test_a_tracker_that_cannot_end_is_said_to_lack_numbers(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(trackers._KINDS, "wandb", Lasting)
    run = settings(log_every=1, trackers=("wandb",))
    with caplog.at_level(logging.WARNING, "procir"):
        train(fresh_model(), crowded_split(tmp_path), run, tmp_path / "out", data_hash="x")
    (warning,) = [row for row in read_log(tmp_path / "out") if row["kind"] == "warning"]
    assert warning["text"] == "wandb may lack the last numbers (no route to host); log.jsonl has all of them"
    assert warning["step"] == 4 and warning["text"] in caplog.text


def test_a_tracker_that_had_begun_ends_where_another_cannot_begin(tmp_path, monkeypatch):
    def refuse(*_):
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    monkeypatch.setattr(Lasting, "ended", 0)
    monkeypatch.setitem(trackers._KINDS, "wandb", Lasting)
    monkeypatch.setitem(trackers._KINDS, "trackio", refuse)
    with pytest.raises(ConfigError, match="trackio cannot begin: No module named 'pandas'; see that it is"):
        open_trackers(("wandb", "trackio"), tmp_path, {}, resumed=False)
    assert Lasting.ended == 1


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match=r"trackio is not installed: pip install 'procir\[trackio\]'"):
        open_trackers(("trackio",), tmp_path, {}, resumed=False)


def test_a_tracker_that_cannot_begin_stops_the_run_at_the_start(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("api key not valid")

    monkeypatch.setitem(trackers._KINDS, "wandb", refuse)
    with pytest.raises(ConfigError, match="wandb cannot begin: api key not valid"):
        open_trackers(("wandb",), tmp_path, {}, resumed=False)


def test_nothing_is_imported_that_is_not_asked_for():
    code = "import sys, procir.train.contrastive; print([n for n in ('wandb', 'trackio') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
