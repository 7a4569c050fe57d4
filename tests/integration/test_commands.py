"""Every command as a user runs it, on a few tiny drawings, and what it says when something is wrong."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from procir import __version__, cli
from procir.catalog.atelier.catalogue import AtelierConfig
from procir.catalog.released import read_split
from procir.evaluate.results import read_results
from procir.model import pixels
from procir.model.embedder import ProCIR
from procir.model.encoding import read_encoded
from procir.recipes import commands, console, runs, tiny
from procir.recipes.curriculum import Curriculum
from procir.recipes.study import StudyConfig
from procir.records import read_jsonl
from procir.train.config import TrainConfig
from procir.train.log import StepReport, read_log
from procir.types import Query

CATALOGUE = AtelierConfig(train_products=48, val_products=28, size=64, seed=2)
QUICK = TrainConfig(
    batch_size=8, max_steps=3, learning_rate=1e-3, modification="short", caption="short", log_every=1, evaluate_every=2
)
STUDY = StudyConfig(steps=2, batch_size=4, learning_rate=1e-3, warmup_steps=1)
LESSONS = Curriculum(garments=50, reading=STUDY, describing=STUDY)
KEYS = {
    "rows", "i2t", "t2i", "datasets", "substituted", "asked", "intervals", "queries", "gallery", "seed", "data_hash",
    "versions", "config", "seconds",
}  # fmt: skip
VIEWS = {"only front", "only side", "only back", "only detail", "only full"}
PLAIN = {"source only", "text only"} | VIEWS
COMMANDS = [
    "demo", "draw", "check", "train", "sft", "caption", "ablate", "evaluate", "encode", "construct run",
    "construct status", "construct cost", "construct export", "construct audit", "construct duplicates",
    "annotator serve", "starter",
]  # fmt: skip


@pytest.fixture(scope="module")
def starter(tokenizer, tmp_path_factory):
    """A stand-in for the shipped checkpoint: the same shape with random weights."""
    folder = tmp_path_factory.mktemp("starter") / "starter"
    ProCIR.from_shape("tiny", tokenizer, tiny.settings(), seed=4).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def tiny_recipes(monkeypatch, starter):
    make_tiny(monkeypatch, starter)


def make_tiny(patch, starter):
    patch.setattr(tiny, "starter_folder", lambda: starter)
    for name in ("demo_catalogue", "starter_catalogue"):
        patch.setattr(tiny, name, lambda: CATALOGUE)
    for name in ("demo_training",):
        patch.setattr(tiny, name, lambda: QUICK)
    for name in ("starter_curriculum", "scratch_curriculum"):
        patch.setattr(tiny, name, lambda: LESSONS)
    patch.setattr(os, "cpu_count", lambda: 1)


@pytest.fixture(scope="module")
def demo(starter, tmp_path_factory):
    """What `procir demo` leaves behind; tests must not change it."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch, starter)
        assert cli.main(["demo", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def data(demo):
    """The catalogue that the demo drew."""
    return demo / "data"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A single-turn model after two of its three steps, saved at each."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert cli.main(["train", "--data", str(data), "--out", str(out), *SINGLE, "--max-steps", "3"]) == 0
    return out


SINGLE = [
    "--start", "scratch", "--no-two-turns", "--no-alignment", "--batch-size", "8", "--save-every", "1",
    "--modification", "short", "--log-every", "1", "--seed", "5",
]  # fmt: skip


@pytest.fixture
def procir(capsys):
    """Runs a command that must succeed; gives what it printed."""

    def run(*arguments):
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return printed.out

    return run


@pytest.fixture
def refusal(capsys):
    """Runs a command that must refuse; gives its message."""

    def run(*arguments):
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        message = re.sub(r"\r|.*it/s\]", "", capsys.readouterr().err).strip()
        assert (status, message[:6]) == (1, "error "), message
        assert "Traceback" not in message
        return message

    return run


@pytest.fixture
def copy(data, tmp_path):
    """The drawn catalogue, to be changed."""
    return Path(shutil.copytree(data, tmp_path / "copy"))


@pytest.fixture
def wardrobe(tmp_path):
    """Six products of a user: plain colours, two photos each."""
    root = tmp_path / "wardrobe"
    for number, color in enumerate(("red", "green", "blue", "white", "black", "orange")):
        folder = root / f"dress-{number}"
        folder.mkdir(parents=True)
        for view in ("front", "back"):
            Image.new("RGB", (60, 80), color).save(folder / f"{view}.jpg")
    return root


def cases(page):
    return len(re.findall(r'<article class="sheet"', page.read_text(encoding="utf-8")))


def lines(path):
    return [row for _, row in read_jsonl(path)]


def change_line(path, number, change):
    content = path.read_text(encoding="utf-8").splitlines()
    content[number - 1] = change(content[number - 1])
    path.write_text("\n".join(content) + "\n", encoding="utf-8")


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*command.split(), "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert f"procir {command.split()[0]}" in printed
    assert "--out" in printed or command in ("check", "annotator serve")


def test_help_of_the_whole(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert [command for command in COMMANDS if command.split()[0] not in printed] == []


def test_version(procir):
    assert procir("--version").strip() == f"procir {__version__}"


@pytest.mark.parametrize("arguments", [[], ["paint"], ["draw"], ["draw", "--out", "x", "--size", "big"]])
def test_unknown_arguments_are_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2


# The main job


def test_the_demo_leaves_a_model_results_and_a_report(demo):
    results = read_results(demo / "results.json")
    assert set(results) == KEYS
    assert {"procir", *PLAIN, "untrained"} - set(results["rows"]) <= VIEWS
    assert set(results["rows"]) <= {"procir", *PLAIN, "untrained"}
    assert "only front" in results["rows"]
    for row in (*results["rows"].values(), results["i2t"], results["t2i"]):
        assert list(row) == ["R@1", "R@5", "R@10"]
    rows = lines(demo / "data" / "val_triplets.jsonl")
    gallery = {row[name] for row in rows for name in ("source_id", "target_id")}
    assert len(rows) >= 12
    assert (results["queries"], results["gallery"], results["seed"]) == (len(rows), len(gallery), 0)
    assert re.fullmatch("[0-9a-f]{64}", results["data_hash"])
    assert set(results["versions"]) == {"python", "procir", "torch", "transformers", "numpy"}
    assert {"drawing", "construction", "training", "evaluation"} <= set(results["seconds"])
    assert all(seconds >= 0 for seconds in results["seconds"].values())
    assert results["config"]["train"]["batch_size"] == 8
    assert cases(demo / "report.html") == 12
    assert "Loss" in (demo / "report.html").read_text(encoding="utf-8")
    assert [row["step"] for row in read_log(demo) if row["kind"] == "train"] == [1, 2, 3]
    assert [row["step"] for row in read_log(demo) if row["kind"] == "eval"] == [0, 2, 3]


def test_the_demo_makes_its_data_set_of_photos(demo):
    """By the three stages over HTTP; the truth of the atelier is added for the case sheets."""
    asked = {row["stage"] for row in lines(demo / "failures.jsonl")}
    assert asked == set()
    verdicts, captions = lines(demo / "verdicts.jsonl"), lines(demo / "data" / "val_captions.jsonl")
    assert len(verdicts) == CATALOGUE.train_products + CATALOGUE.val_products
    wrong = {row["product_id"] for row in verdicts if row["has_error"]}
    assert wrong.isdisjoint(row["product_id"] for row in captions)
    assert (demo / "ledger.sqlite").stat().st_size > 100_000
    triplets = lines(demo / "data" / "val_triplets.jsonl")
    assert all(row["target_id"] in row["satisfying_ids"] for row in triplets)


def test_the_demo_may_run_again(demo, procir, tmp_path):
    """Into the same folder, this time from random weights: the drawings are used again, the rest is written anew."""
    again = Path(shutil.copytree(demo, tmp_path / "again"))
    drawn = {path: path.stat().st_mtime_ns for path in (again / "catalogue").rglob("*.jpg")}
    printed = procir("demo", "--from-scratch", "--seed", "3", "--out", again)
    assert re.search("Drawing garments.*done before", printed)
    assert f"Look at {(again / 'report.html').resolve()}\n" in printed
    assert {path: path.stat().st_mtime_ns for path in (again / "catalogue").rglob("*.jpg")} == drawn
    before, after = (read_results(out / "results.json") for out in (demo, again))
    assert before["rows"].keys() == after["rows"].keys()
    assert before["data_hash"] == after["data_hash"]
    assert (after["seed"], after["config"]["train"]["seed"], after["config"]["start"]) == (3, 3, "random weights")
    assert [row["step"] for row in read_log(again) if row["kind"] == "train"] == [1, 2, 3]
    weights = [(out / "model" / "model.safetensors").read_bytes() for out in (demo, again)]
    assert weights[0] != weights[1]
    assert cases(again / "report.html") == 12


def test_the_demo_without_the_shipped_checkpoint(monkeypatch, refusal, tmp_path):
    monkeypatch.setattr(tiny, "starter_folder", lambda: tmp_path / "nowhere")
    assert "lacks the starting checkpoint" in refusal("demo", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_starter_recipe(demo, procir, tmp_path):
    """Lessons alone, which a second call keeps."""
    shutil.copytree(demo / "catalogue", tmp_path / "out" / "data")
    procir("starter", "--out", tmp_path / "out")
    assert cases(tmp_path / "out" / "report.html") == 12
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert ProCIR.from_pretrained(tmp_path / "out" / "model").settings.two_turns
    record = json.loads((tmp_path / "out" / "model" / "training.json").read_text())
    assert record["config"]["lessons"]["garments"] == LESSONS.garments
    for name in ("reading", "describing"):
        kept = json.loads((tmp_path / "out" / "lessons" / name / "record.json").read_text())
        assert record["lessons"][name] == {"marks": kept["marks"], "seconds": kept["seconds"]}
    weights = (tmp_path / "out" / "model" / "model.safetensors").read_bytes()
    procir("starter", "--out", tmp_path / "out", "--resume")
    assert (tmp_path / "out" / "model" / "model.safetensors").read_bytes() == weights


def test_the_demo_from_scratch(data, procir, tmp_path):
    """The tower has its lessons, then the triplets leave it as it is."""
    shutil.copytree(data, tmp_path / "out" / "data")
    printed = procir("demo", "--from-scratch", "--out", tmp_path / "out")
    assert "Reading" in printed
    assert "Describing" in printed
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["config"]["start"] == "random weights"
    assert results["seconds"]["lessons"] > 0
    tower = load_file(tmp_path / "out" / "lessons" / "reading" / "weights.safetensors")
    model = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert all(torch.equal(weight, model[f"model.visual.{name}"]) for name, weight in tower.items())


# Photographs of one's own


def test_a_folder_of_photographs(wardrobe, procir, tmp_path):
    printed = procir(
        "demo", "--images", wardrobe, "--out", tmp_path / "out", "--ask", "dress-2=the same in red", "dress-0=longer"
    )
    assert "6 products, 12 views, 0 captions, 0 triplets" in printed
    assert cases(tmp_path / "out" / "report.html") == 8  # two requests, six products
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "the same in red" in page
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_folder_with_captions_and_triplets(wardrobe, starter, procir, tmp_path):
    """Forty products, so that both parts of the split hold some; every product asks for every other."""
    for number in range(6, 40):
        folder = wardrobe / f"dress-{number}"
        folder.mkdir()
        Image.new("RGB", (64, 64), (6 * number, 0, 99)).save(folder / "front [1].jpg")
    names = [f"dress-{number}" for number in range(40)]
    captions = [{"product_id": name, "long_caption": f"A long {name}.", "short_caption": name} for name in names]
    triplets = [
        {"source_id": one, "target_id": two, "modification_text_short": f"make it {two}"}
        for one in names[:16]
        for two in names[:16]
        if one != two
    ]
    (wardrobe / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in captions))
    (wardrobe / "triplets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in triplets))
    printed = procir("demo", "--images", wardrobe, "--model", starter, "--out", tmp_path / "out")
    assert "triplets join a training product to a validation product" in printed.replace("\n", " ")
    results = read_results(tmp_path / "out" / "results.json")
    assert set(results) == KEYS
    assert {"procir", "source only", "text only", "only front"} <= set(results["rows"])
    assert cases(tmp_path / "out" / "report.html") >= 12
    assert cases(tmp_path / "out" / "search.html") == 24
    assert ProCIR.from_pretrained(tmp_path / "out" / "model").settings.two_turns
    # Without captions there is nothing to align with, and no text to retrieve.
    (wardrobe / "captions.jsonl").unlink()
    procir("demo", "--images", wardrobe, "--model", starter, "--out", tmp_path / "out")
    results = read_results(tmp_path / "out" / "results.json")
    assert results["config"]["train"]["variant"]["alignment"] is False
    assert set(results["i2t"].values()) == {None}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ("dress2=in red", r"names the product 'dress2', which is not there; did you mean dress-2"),
        ("hat=in red", r"names the product 'hat', which is not there; the first ones are dress-0, dress-1, dress-2"),
        ("in red", r"--ask 'in red' is not of the form ID=TEXT"),
        ("dress-1= ", r"is not of the form ID=TEXT"),
        ("dress-1=" + "very " * 6000, r"the query on wardrobe/dress-1 may take \d+ tokens, the model reads 4096"),
    ],
    ids=["near", "far", "no sign", "no text", "too long"],
)
def test_requests_that_cannot_be_met(wardrobe, refusal, tmp_path, ask, message):
    assert re.search(message, refusal("demo", "--images", wardrobe, "--ask", ask, "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_folders_that_hold_no_product(refusal, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no product" in refusal("demo", "--images", empty, "--out", tmp_path / "out")
    (empty / "dress-1").mkdir()
    (empty / "dress-1" / "notes.txt").write_text("a dress")
    message = refusal("demo", "--images", empty, "--out", tmp_path / "out")
    assert "dress-1" in message
    assert "put the photos of each product into a sub-folder" in message
    assert "no such folder" in refusal("demo", "--images", tmp_path / "nowhere", "--out", tmp_path / "out")


def test_unreadable_photographs_are_named(wardrobe, refusal, tmp_path):
    photo = wardrobe / "dress-3" / "front.jpg"
    photo.write_bytes(photo.read_bytes()[:200])
    (wardrobe / "dress-4" / "back.jpg").write_text("not a photo")
    message = refusal("demo", "--images", wardrobe, "--out", tmp_path / "out")
    assert f"{photo}: " in message
    assert f"{wardrobe / 'dress-4' / 'back.jpg'}: not JPEG" in message


def test_names_are_not_markup(wardrobe, procir, tmp_path):
    (wardrobe / "dress-0").rename(wardrobe / "[red]dress[")
    (wardrobe / "[red]dress[" / "b].txt").write_text("other")
    printed = procir("demo", "--images", wardrobe, "--out", tmp_path / "[bold]out")
    assert "files of other kinds ([red]dress[/b].txt)" in printed
    assert str(tmp_path / "[bold]out" / "report.html") in printed


@pytest.mark.parametrize(
    "arguments", [["--ask", "a=b"], ["--model", "somewhere"], ["--images", "somewhere", "--from-scratch"]]
)
def test_options_that_do_not_go_together(arguments, refusal):
    refusal("demo", *arguments)


def test_a_cache_is_for_one_machine(data, starter, refusal, tmp_path):
    place = ["--out", tmp_path / "vectors", "--cache", tmp_path / "cache", "--cluster", "local"]
    message = refusal("encode", "--model", starter, "--data", data, *place)
    assert "--cache is for one machine: leave it out with --cluster" in message


# Draw and check


def test_draw_and_check(procir, refusal, tmp_path):
    size = ["--train-products", "2", "--val-products", "2", "--size", "48", "--seed", "1", "--workers", "1"]
    printed = procir("draw", "--out", tmp_path / "drawn", *size)
    assert "train: 2 products" in printed
    assert len(list((tmp_path / "drawn" / "images").rglob("*.jpg"))) >= 8
    procir("draw", "--out", tmp_path / "drawn", *size)
    assert "holds a catalogue of" in refusal("draw", "--out", tmp_path / "drawn", *size[:-1], "2", "--seed", "2")
    (tmp_path / "note").write_text("mine")
    assert "is a file" in refusal("draw", "--out", tmp_path / "note", *size)


def test_check_says_what_is_there(data, procir):
    printed = procir("check", "--data", data, "--split", "train", "--workers", "2")
    views = sum(1 for folder in data.glob("images/atelier/*") for _ in folder.iterdir())
    triplets = len(lines(data / "train_triplets.jsonl"))
    found = re.search(rf"48 products, (\d+) views, 48 captions, {triplets} triplets", printed)
    assert found
    assert 0 < int(found[1]) < views
    assert f"{found[1]} views; all views of 48 products are readable" in printed.replace("\n", " ")


def test_check_names_what_is_broken_or_missing(copy, procir, refusal):
    _, row = next(read_jsonl(copy / "val_triplets.jsonl"))
    source, target = (copy / "images" / "atelier" / row[name] for name in ("source_id", "target_id"))
    photo = sorted(source.iterdir())[0]
    photo.write_bytes(photo.read_bytes()[:100])
    assert str(photo) in refusal("check", "--data", copy)
    shutil.rmtree(target)
    message = refusal("check", "--data", copy)
    assert f"atelier/{row['target_id']}" in message
    assert "products without a readable folder" in message
    printed = procir("check", "--data", copy, "--allow-missing")
    assert "products without a readable folder" in printed
    assert "unreadable views" in printed
    assert f"{len(lines(copy / 'val_captions.jsonl')) - 1} products" in printed


@pytest.mark.parametrize("workers", ["0", "-2"])
def test_workers_are_counted_from_one(workers, data, refusal, tmp_path):
    assert f"--workers is {workers}" in refusal("draw", "--out", tmp_path / "x", "--workers", workers)
    assert f"--workers is {workers}" in refusal("check", "--data", data, "--workers", workers)


# Train


def test_a_trained_single_turn_model(trained):
    rows = read_log(trained)
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2, 3]
    assert {"R@1", "R@5", "R@10"} <= set(next(row for row in rows if row["kind"] == "eval"))
    model = ProCIR.from_pretrained(trained / "model")
    assert not model.settings.two_turns
    assert model.settings.pixels.max_pixels == 96 * 96
    assert [path.name for path in sorted((trained / "checkpoints").iterdir())] == ["step-0000002", "step-0000003"]


def test_training_goes_on_where_it_stopped(data, trained, procir, tmp_path):
    """Step 3 again, from the checkpoint of step 2, gives the model of the run that was not interrupted."""
    out = Path(shutil.copytree(trained, tmp_path / "run"))
    shutil.rmtree(out / "checkpoints" / "step-0000003")
    shutil.rmtree(out / "model")
    procir("train", "--data", data, "--out", out, *SINGLE, "--max-steps", "3", "--resume")
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (out, trained)]
    assert weights[0] == weights[1]
    assert [row["step"] for row in read_log(out) if row["kind"] == "train"] == [1, 2, 3]


def test_training_starts_from_a_checkpoint_with_its_views(data, trained, procir, tmp_path):
    start = ["--start", trained / "model", "--no-two-turns", "--no-alignment", "--batch-size", "4", "--max-steps", "1"]
    procir("train", "--data", data, "--out", tmp_path / "more", *start)
    model = ProCIR.from_pretrained(tmp_path / "more" / "model")
    assert model.settings == ProCIR.from_pretrained(trained / "model").settings


def test_training_from_a_cache_takes_the_same_steps(data, trained, procir, monkeypatch, tmp_path):
    cache = ["--cache", tmp_path / "cache"]
    procir("train", "--data", data, "--out", tmp_path / "first", *SINGLE, "--max-steps", "3", *cache)
    use = ["--model", tmp_path / "first" / "model", "--data", data]
    procir("encode", *use, "--out", tmp_path / "plain")
    monkeypatch.setattr(pixels, "load_image", lambda *_, **__: pytest.fail("decoded"))
    procir("train", "--data", data, "--out", tmp_path / "again", *SINGLE, "--max-steps", "3", *cache)
    plain = (trained / "model" / "model.safetensors").read_bytes()
    for name in ("first", "again"):
        assert (tmp_path / name / "model" / "model.safetensors").read_bytes() == plain
    procir("evaluate", *use, "--out", tmp_path / "scores", *cache)
    procir("encode", *use, "--out", tmp_path / "cached", *cache)
    vectors = [(tmp_path / name / "embeddings.npy").read_bytes() for name in ("plain", "cached")]
    assert vectors[0] == vectors[1]


def test_reduced_decoding_marks_the_model(data, procir, refusal, tmp_path):
    run = ["train", "--data", data, "--out", tmp_path / "run", *SINGLE]
    procir(*run, "--max-steps", "1", "--reduced-jpeg")
    model = ProCIR.from_pretrained(tmp_path / "run" / "model")
    assert model.settings.pixels.reduced_jpeg
    assert model.store.settings.reduced_jpeg
    message = refusal(*run, "--max-steps", "1", "--resume")
    assert "reduced_jpeg was True and is now False" in message


@pytest.mark.parametrize("command", ["train", "evaluate", "check"])
def test_images_far_longer_than_wide_are_named_at_the_start(copy, starter, refusal, tmp_path, command):
    split = "train" if command == "train" else "val"
    triplet = lines(copy / f"{split}_triplets.jsonl")[0]
    folder = copy / "images" / triplet["dataset"] / triplet["source_id"]
    photo = sorted(folder.iterdir())[0]
    Image.new("RGB", (3000, 10)).save(photo)
    arguments = {
        "train": ["--start", starter, "--out", tmp_path / "run"],
        "evaluate": ["--model", starter, "--out", tmp_path / "run"],
        "check": [],
    }[command]
    caches = [[]] if command == "check" else [[], ["--cache", tmp_path / "cache"]]
    for cache in caches:
        message = refusal(command, "--data", copy, *arguments, *cache)
        assert f"{photo}: a view of 3000 x 10 px is more than 200 times longer than wide" in message


def test_training_adds_the_token_to_a_plain_backbone(data, starter, procir, tmp_path):
    plain = without_token(starter, tmp_path / "plain")
    start = ["--start", plain, "--no-alignment", "--batch-size", "2", "--max-steps", "1", "--modification", "short"]
    procir("train", "--data", data, "--out", tmp_path / "run", *start)
    model = ProCIR.from_pretrained(tmp_path / "run" / "model")
    assert model.settings.two_turns


def test_training_refuses_to_overwrite(data, trained, refusal, tmp_path):
    message = refusal("train", "--data", data, "--out", trained, *SINGLE, "--max-steps", "3")
    assert "holds a trained model: choose another folder, or go on from its checkpoints (--resume)" in message
    shutil.copytree(trained / "checkpoints", tmp_path / "run" / "checkpoints")
    message = refusal("train", "--data", data, "--out", tmp_path / "run", *SINGLE, "--max-steps", "3")
    assert "holds checkpoints of an earlier run" in message
    message = refusal("train", "--data", data, "--out", trained, *SINGLE, "--max-steps", "9", "--resume")
    assert "max_steps was 3 and is now 9" in message


def test_settings_that_cannot_work(data, refusal, tmp_path):
    assert "batch_size must be at least 2" in refusal("train", "--data", "x", "--out", "y", "--batch-size", "1")
    message = refusal("draw", "--out", tmp_path / "x", "--val-products", "0")
    assert "both splits need at least one" in message
    message = refusal("train", "--data", data, "--out", tmp_path / "x", "--batch-size", "600", "--start", "scratch")
    assert "triplets do not fill a batch of 600" in message
    message = refusal("train", "--data", data, "--out", tmp_path / "x", "--no-two-turns")
    assert "train single-turn variants with --start scratch" in message


# Evaluate


def test_evaluate_writes_results_and_a_report(data, demo, procir, tmp_path):
    out = tmp_path / "scores"
    printed = procir("evaluate", "--model", demo / "model", "--data", data, "--out", out, "--plain")
    results, expected = read_results(out / "results.json"), read_results(demo / "results.json")
    assert set(results) == KEYS
    assert results["rows"] == {name: row for name, row in expected["rows"].items() if name in {"procir", *PLAIN}}
    assert (results["i2t"], results["t2i"]) == (expected["i2t"], expected["t2i"])
    assert results["data_hash"] == expected["data_hash"]
    assert cases(out / "report.html") == 12
    assert "R@10" in printed
    narrow = ["--dtype", "bfloat16", "--seed", "9", "--dims", "64"]
    procir("evaluate", "--model", demo / "model", "--data", data, "--out", out, *narrow)
    again = read_results(out / "results.json")
    assert (set(again["rows"]), again["seed"]) == ({"procir", "first 64"}, 9)
    assert "the first 64 numbers of each embedding" in (out / "report.html").read_text(encoding="utf-8")


def test_evaluate_measures_conversations(data, demo, procir, tmp_path):
    out = tmp_path / "scores"
    options = ["--split", "train", "--turns", "2", "--no-check"]
    printed = procir("evaluate", "--model", demo / "model", "--data", data, "--out", out, *options)
    results = read_results(out / "results.json")
    rows = [f"turn 2: {way}" for way in ("conversation", "last text", "joined texts", "start anew")]
    assert list(results["rows"]) == ["procir", *rows]
    (count,) = {results["asked"].get(row, results["queries"]) for row in rows}
    assert 0 < count <= results["queries"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "photos, and text after text" in page
    assert "turn 2: start anew" in printed


def test_single_turn_models_have_no_conversations(data, starter, refusal, tmp_path):
    single = tmp_path / "single"
    shutil.copytree(starter, single)
    settings = json.loads((single / "procir.json").read_text())
    (single / "procir.json").write_text(json.dumps(settings | {"two_turns": False}))
    message = refusal("evaluate", "--model", single, "--data", data, "--out", tmp_path / "out", "--turns", "2")
    assert "this model reads photos and text in one turn" in message


def test_the_released_protocol_orders_views_by_name_as_text(copy, demo, procir, monkeypatch, tmp_path):
    """A front called 10_front stays before 2_back there, and comes last in natural order."""
    for path in list((copy / "images").rglob("1_front.jpg")):
        path.rename(path.with_name("10_front.jpg"))
    evaluated = []
    whole = commands.evaluate_all
    monkeypatch.setattr(
        commands, "evaluate_all", lambda model, split, **more: evaluated.append(split) or whole(model, split, **more)
    )
    for protocol, place in (("released", 0), ("natural", -1)):
        out = tmp_path / protocol
        procir("evaluate", "--model", demo / "model", "--data", copy, "--out", out, "--protocol", protocol)
        assert read_results(out / "results.json")["config"]["protocol"] == protocol
        views = [product.views for product in evaluated.pop().products.values()]
        assert {own[place].path.name for own in views} == {"10_front.jpg"}
        assert {own[place].name for own in views} == {"front"}


def test_lengths_that_are_no_part_of_an_embedding(data, demo, refusal, tmp_path):
    message = refusal("evaluate", "--model", demo / "model", "--data", data, "--out", tmp_path / "out", "--dims", "192")
    assert "dims 192: each must be 1 to 191" in message


@pytest.mark.parametrize("what", ["products", "queries", "captions"])
def test_encode_writes_embeddings_that_search_as_the_evaluation_does(data, demo, procir, refusal, tmp_path, what):
    printed = procir("encode", "--model", demo / "model", "--data", data, "--out", tmp_path / "out", "--what", what)
    split, _ = read_split(data, "val")
    found, model = read_encoded(tmp_path / "out"), ProCIR.from_pretrained(demo / "model")
    if what == "products":
        ids = [str(key) for key in sorted(split.products)]
        expected = model.encode_products([split.products[key] for key in sorted(split.products)])
    elif what == "captions":
        ids = [str(key) for key in sorted(split.captions)]
        expected = model.encode_captions([split.captions[key].short for key in sorted(split.captions)])
    else:
        ids = [f"{triplet.source} -> {triplet.target}" for triplet in split.triplets]
        expected = model.encode_queries([Query(split.products[t.source], t.short) for t in split.triplets])
    assert list(found.ids) == ids
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)
    assert f"{len(ids)} embeddings of {model.dim} numbers are in" in " ".join(printed.split())
    again = procir("encode", "--model", demo / "model", "--data", data, "--out", tmp_path / "out", "--what", what)
    assert "done before" in again
    message = refusal(
        "encode", "--model", demo / "model", "--data", data, "--out", tmp_path / "out", "--what", what, "--half"
    )
    assert "holds an encoding that differs in dtype: choose another folder" in message


def test_encode_on_a_cluster_gives_the_same(data, demo, procir, refusal, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray (the extra cluster) is not installed")
    arguments = ["encode", "--model", demo / "model", "--data", data, "--what", "queries"]
    try:
        procir(*arguments, "--out", tmp_path / "cluster", "--cluster", "local", "--workers", "2")
    finally:
        ray.shutdown()
    procir(*arguments, "--out", tmp_path / "here")
    there, here = read_encoded(tmp_path / "cluster"), read_encoded(tmp_path / "here")
    assert there.ids == here.ids
    np.testing.assert_allclose(there.vectors, here.vectors, atol=1e-5)
    message = refusal(*arguments, "--out", tmp_path / "none", "--workers", "2")
    assert "--workers goes with --cluster ADDRESS" in message
    message = refusal(*arguments, "--out", tmp_path / "none", "--cluster", "127.0.0.1:1")
    assert "no Ray cluster at '127.0.0.1:1'" in message


def test_views_beyond_the_fifth_are_counted(copy, demo, procir, tmp_path):
    folder = next((copy / "images" / "atelier").iterdir())
    first = sorted(folder.iterdir())[0]
    while len(list(folder.iterdir())) < 7:
        shutil.copy(first, folder / f"9_{len(list(folder.iterdir()))}.jpg")
    printed = procir("encode", "--model", demo / "model", "--data", copy, "--out", tmp_path / "out", "--split", "train")
    if "views beyond" not in printed:  # the folder may be of the other split
        printed = procir("encode", "--model", demo / "model", "--data", copy, "--out", tmp_path / "val")
    assert f"left out 2: views beyond the first 5 (atelier/{folder.name})" in " ".join(printed.split())


def without_token(folder, target):
    """The checkpoint as it was before it learnt the embedding token."""
    shutil.copytree(folder, target)
    content = json.loads((target / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "<emb_all>"]
    (target / "tokenizer.json").write_text(json.dumps(content))
    settings = json.loads((target / "tokenizer_config.json").read_text())
    del settings["extra_special_tokens"]
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
    (target / "procir.json").unlink()
    return target


def test_a_checkpoint_without_the_token(data, starter, refusal, tmp_path):
    plain = without_token(starter, tmp_path / "plain")
    message = refusal("evaluate", "--model", plain, "--data", data, "--out", tmp_path / "out")
    assert "lacks the token '<emb_all>'" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", ["nowhere", "./nowhere", "some/where"])
def test_a_model_that_is_not_there(data, refusal, tmp_path, model):
    assert model in refusal("evaluate", "--model", model, "--data", data, "--out", tmp_path / "out")


@pytest.mark.parametrize("command", [["check"], ["train", "--out", "x"], ["evaluate", "--model", "x"]])
def test_a_data_folder_that_is_not_there(command, refusal, tmp_path):
    message = refusal(*command, "--data", tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'}: no such folder" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line[:-9], "not a JSON object"),
        (lambda line: json.dumps({**json.loads(line), "source_id": None}), "field 'source_id' is missing"),
        (lambda line: json.dumps({**json.loads(line), "target_id": "hat-1", "satisfying_ids": []}), "atelier/hat-1"),
    ],
    ids=["malformed", "no source", "unknown product"],
)
@pytest.mark.parametrize("command", ["check", "evaluate"])
def test_lines_that_are_wrong_are_named(copy, starter, refusal, tmp_path, command, change, message):
    change_line(copy / "val_triplets.jsonl", 3, change)
    model = ["--model", starter, "--out", tmp_path / "out"] if command == "evaluate" else []
    printed = refusal(command, "--data", copy, *model)
    assert f"{copy / 'val_triplets.jsonl'}:3" in printed
    assert message in printed


def test_texts_longer_than_the_context(copy, starter, refusal, tmp_path):
    row = json.loads((copy / "val_triplets.jsonl").read_text(encoding="utf-8").splitlines()[1])
    long = {**row, "modification_text_short": "much longer " * 3000}
    change_line(copy / "val_triplets.jsonl", 2, lambda _: json.dumps(long))
    message = refusal("evaluate", "--model", starter, "--data", copy, "--out", tmp_path / "out")
    assert re.search(rf"the query on atelier/{row['source_id']} may take \d+ tokens, the model reads 4096", message)
    change_line(copy / "train_triplets.jsonl", 2, lambda line: json.dumps({**json.loads(line), **text_of(long)}))
    start = ["--batch-size", "4", "--max-steps", "1"]
    assert "the model reads 4096" in refusal("train", "--data", copy, "--out", tmp_path / "run", *start)


def text_of(row):
    return {"modification_text_short": row["modification_text_short"]}


def test_devices_that_are_not_there(data, demo, refusal, tmp_path):
    missing = ["turbo"] + ([] if torch.cuda.is_available() else ["cuda"])
    for device in missing:
        evaluation = ["--model", demo / "model", "--data", data, "--out", tmp_path / "out"]
        assert f"--device {device} is not to be had here" in refusal("evaluate", *evaluation, "--device", device)
        training = ["--data", data, "--out", tmp_path / "run", "--start", "scratch"]
        assert f"--device {device} is not to be had here" in refusal("train", *training, "--device", device)
    assert list(tmp_path.iterdir()) == []


# Interruptions and the world outside


def test_an_interruption(monkeypatch, capsys, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("procir.recipes.demo.draw_catalogue", interrupt)
    assert cli.main(["demo", "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err.strip().endswith("interrupted")


def test_what_the_system_refuses(monkeypatch, refusal, data, demo, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = refusal("evaluate", "--model", demo / "model", "--data", data, "--out", tmp_path / "file" / "out")
    assert "file" in message


def test_the_command_runs_as_a_program(tmp_path):
    command = [sys.executable, "-m", "procir.cli", "demo", "--ask", "dress-1=in red", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error --ask and --model go with --images FOLDER\n"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_stages_fit_the_terminal(monkeypatch, width):
    screen = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=screen, force_terminal=True, width=width, color_system=None))
    step = StepReport(
        step=1200, total=1200, losses={"loss": 1.2345}, learning_rate=1e-3, gradient_norm=1.0,
        samples_per_second=12.34, seconds_left=0.0,
    )  # fmt: skip
    with console.stage("Drawing garments") as advance:
        advance(4500, 4500, "products")
    with console.stage("Training") as advance:
        advance(step.step, step.total, runs.step_note(step))
    with console.stage("Evaluating"):
        pass
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").split("\n")
    lines = [line.rstrip() for line in last if line.startswith("✓")]
    assert max(map(len, lines)) <= width
    assert any("4,500/4,500 in 0:00 products" in line for line in lines)
    assert any("1,200/1,200 in 0:00 loss 1" in line for line in lines)
    assert any("done before" in line for line in lines)
    assert width < 80 or any(line.endswith("loss 1.234 lr 1.0e-3 12.3/s") for line in lines)
