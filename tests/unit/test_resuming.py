"""Checkpoints that something happened to: killed saves, full disks, damage, other data, other models."""

import json
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from procir.errors import CheckpointError, TrainingError
from procir.model.embedder import ProCIR
from procir.model.pixels import PixelSettings
from procir.model.tokenizers import train_tokenizer
from procir.recipes.runs import train_watched
from procir.records import data_hash
from procir.train import manifest
from procir.train.contrastive import train
from procir.train.log import read_log
from procir.types import Split
from training import crowded_split, fresh_model, settings

WORKER = Path(__file__).parents[1] / "kill_worker.py"


def run(**changes):
    return settings(**{"max_steps": 4, "save_every": 1, "keep_checkpoints": 2} | changes)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return crowded_split(tmp_path_factory.mktemp("crowded"))


@pytest.fixture(scope="module")
def finished(split, tmp_path_factory):
    """A finished run with the checkpoints of steps 3 and 4, and its model; tests copy it."""
    out, model = tmp_path_factory.mktemp("finished") / "run", fresh_model()
    train(model, split, run(), out, data_hash="x")
    return out, model


@pytest.fixture
def out(finished, tmp_path):
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "model/model.safetensors": truncate,
    "optimizers.pt": truncate,
    "state.json": lambda path: path.write_text(""),
    "model": shutil.rmtree,
}


def test_killed_saves_leave_a_whole_checkpoint(tmp_path):
    """A real process is killed at twelve moments of many saves."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(WORKER), str(tmp_path / "run"), "12"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = re.findall(r"unfinished (\d)", done.stdout)
    assert len(trials) == 12
    assert trials.count("1") >= 5, "most kills should hit a save"


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(finished, split, out, caplog, name):
    """The run goes on from step 3 and ends in the same weights; the damaged folder is kept aside, and spoken of."""
    newest = out / "checkpoints" / "step-0000004"
    DAMAGE[name](newest / name)
    model = fresh_model()
    with caplog.at_level(logging.WARNING, logger="procir"):
        train(model, split, run(), out, data_hash="x", resume=True)
    for key, weight in finished[1].network.state_dict().items():
        assert torch.equal(weight, model.network.state_dict()[key]), key
    names = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert names == ["damaged-step-0000004", "step-0000003", "step-0000004"]
    (record,) = [record.getMessage() for record in caplog.records if record.name == "procir"]
    told = [row for row in read_log(out) if row["kind"] == "warning"]
    assert told[0]["step"] == 3
    for text in (record, told[0]["text"]):
        assert "goes on after step 3, for newer checkpoints are damaged and were set aside (step-0000004: " in text


@pytest.mark.parametrize("name", ["optimizers.pt", "state.json"])
def test_missing_files_are_damage(split, out, name):
    (out / "checkpoints" / "step-0000004" / name).unlink()
    train(fresh_model(), split, run(), out, data_hash="x", resume=True)
    assert (out / "checkpoints" / "damaged-step-0000004").is_dir()


def test_without_a_whole_checkpoint_a_run_is_refused(split, out):
    for folder in (out / "checkpoints").iterdir():
        (folder / "state.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match=r"no checkpoint in .*checkpoints is whole \(step-0000004: state.json can"
    ):
        train(fresh_model(), split, run(), out, data_hash="x", resume=True)
    assert len(list((out / "checkpoints").iterdir())) == 2


def test_a_full_disk_leaves_the_checkpoint_before(split, out):
    """Writing fails as on a full disk: this process may write no file of more than a megabyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(report):
        if report.step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))

    shutil.rmtree(out / "checkpoints" / "step-0000003")
    longer = out / "checkpoints" / "step-0000004" / "state.json"
    longer.write_text(longer.read_text().replace('"max_steps": 4', '"max_steps": 6'))
    try:
        with pytest.raises(CheckpointError, match=r"step 5 could not be saved in .*; make room there, .* step-0000004"):
            train(fresh_model(), split, run(max_steps=6), out, data_hash="x", resume=True, report=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-0000004"]
    train(fresh_model(), split, run(max_steps=6), out, data_hash="x", resume=True)


def test_what_a_killed_replacement_of_the_best_model_left_is_mended(split, out, finished):
    finished[1].save_pretrained(out / ".best-ab12cd34-before")
    (out / ".best-ab12cd34").mkdir()
    (out / ".model-ab12cd34").mkdir()
    train(fresh_model(), split, run(), out, data_hash="x", resume=True)
    assert not list(out.glob(".*"))
    ProCIR.from_pretrained(out / "best")


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


def changed_data(split: Split) -> dict[str, Split]:
    one, other = sorted(split.captions)[:2]
    rewritten = replace(split.captions[one], long="Another text.")
    bare = without(without(split.captions, one), other)
    more = (*split.triplets, split.triplets[0], replace(split.triplets[1], short="Be p9."))
    return {
        "caption changed": replace(split, captions={**split.captions, one: rewritten}),
        "captions removed": replace(split, captions=bare),
        "triplets added": replace(split, triplets=more),
        "order": replace(split, triplets=split.triplets[::-1]),
        "product removed": replace(split, products=without(split.products, one)),
    }


TOLD = {
    "caption changed": "1 caption changed (noise/p0)",
    "captions removed": "2 captions removed (noise/p0, noise/p1)",
    "triplets added": "2 triplets added (noise/p0 -> noise/p1 (2), noise/p0 -> noise/p2 (2))",
    "order": "the order of the triplets changed",
    "product removed": "1 photo removed (p0_front.png); 1 product removed (noise/p0)",
}


@pytest.mark.parametrize("case", TOLD)
def test_a_manifest_tells_what_changed(split, case):
    before, now = manifest.take(split), manifest.take(changed_data(split)[case])
    assert before.data_hash == data_hash(split) != now.data_hash
    assert before.changes(now) == TOLD[case]


def test_a_run_is_refused_with_what_changed_in_its_data(split, tmp_path):
    """Through the files of a run, a repainted photo too."""
    own = crowded_split(tmp_path)
    train_watched(fresh_model(), own, None, run(max_steps=1), tmp_path / "run")
    photo = own.products[sorted(own.products)[1]].views[0].path
    photo.write_bytes(own.products[sorted(own.products)[0]].views[0].path.read_bytes())
    with pytest.raises(TrainingError, match=r"the training data changed since .*step-0000001: 1 photo changed \(p1_fr"):
        train_watched(fresh_model(), own, None, run(max_steps=1), tmp_path / "run", resume=True)
    crowded_split(tmp_path)
    photo.unlink()
    own = crowded_split(tmp_path)
    train_watched(fresh_model(), own, None, run(max_steps=1), tmp_path / "run", resume=True)


def test_a_manifest_comes_back_from_its_file(split, tmp_path):
    taken = manifest.take(split)
    manifest.keep(taken, tmp_path)
    found = manifest.load(tmp_path)
    assert found == taken
    again = manifest.take(split, found)
    assert again == taken
    assert again.known
    assert not taken.known
    truncate(tmp_path / manifest.FILE)
    assert manifest.load(tmp_path) is None
    assert manifest.load(tmp_path / "nowhere") is None


def test_photos_of_the_same_size_and_time_are_not_read_again(split, tmp_path):
    """And others are: the digests of a manifest are believed for unchanged files alone."""
    own = crowded_split(tmp_path)
    taken = manifest.take(own)
    first, second = sorted(taken.photos)[:2]
    for path in (first, second):
        taken.photos[path] = replace(taken.photos[path], digest="0" * 64)
    os.utime(second, ns=(0, 0))
    again = manifest.take(own, taken)
    assert again.photos[first].digest == "0" * 64
    assert again.photos[second].digest != "0" * 64


def test_another_model_is_refused_by_name(split, out):
    from training import _tokenizer

    plain = fresh_model()
    narrow = replace(plain.settings, pixels=PixelSettings(min_pixels=32 * 32, max_pixels=32 * 32))
    others = {
        r"dialogue\.pixels\.max_pixels was 4096 and is now 1024 \(model\)": ProCIR(plain.network, _tokenizer(), narrow),
        r"vocabulary\.tokens was \d+ and is now \d+ \(model\)": ProCIR.from_shape(
            "tiny", train_tokenizer(["Make it navy with a zipper."], 310), plain.settings
        ),
    }
    for message, other in others.items():
        with pytest.raises(
            TrainingError, match=rf"step-0000004 is of another run: .*{message}.*resume with what it was"
        ):
            train(other, split, run(), out, data_hash="x", resume=True)


def test_another_vocabulary_of_the_same_size_is_refused(split, out):
    """The same number of tokens, other words: the shapes fit, the numbers mean something else."""
    size = len(fresh_model().tokenizer)
    other = train_tokenizer(["Wholly different words, quite unlike any before; they share no merge."] * 2, 300)
    assert len(other) == size
    model = ProCIR.from_shape("tiny", other, fresh_model().settings)
    with pytest.raises(
        TrainingError, match=r"of another run: vocabulary\.hash was '\w{12}' and is now '\w{12}' \(model"
    ):
        train(model, split, run(), out, data_hash="x", resume=True)


def test_another_architecture_is_refused_by_name(split, out):
    facts = json.loads((out / "checkpoints" / "step-0000004" / "state.json").read_text())
    facts["origin"]["model"]["text"]["hidden_size"] = 1024
    (out / "checkpoints" / "step-0000004" / "state.json").write_text(json.dumps(facts))
    with pytest.raises(TrainingError, match=r"text\.hidden_size was 1024 and is now 192 \(model\)"):
        train(fresh_model(), split, run(), out, data_hash="x", resume=True)


def test_a_batch_that_asks_for_one_product_is_refused_before_training(split, tmp_path):
    """Seven of eleven triplets ask for p1: some batch of two has it alone, no batch of eight."""
    same = next(triplet for triplet in split.triplets if str(triplet.target) == "noise/p1")
    crowded = replace(split, triplets=(same,) * 7 + split.triplets[:4])
    message = r"all 2 triplets of step \d ask for noise/p1, which leaves nothing to tell it from: raise batch_size"
    with pytest.raises(TrainingError, match=message):
        train(fresh_model(), crowded, run(batch_size=2), tmp_path, data_hash="x")
    assert not list(tmp_path.iterdir())
    train(fresh_model(), crowded, run(batch_size=8, max_steps=1), tmp_path, data_hash="x")
