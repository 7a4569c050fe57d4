"""`procir sft`, `procir caption` and `procir ablate` as a user runs them, on a small drawn data set."""

import json

import pytest

from procir import cli
from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.model.embedder import ProCIR
from procir.recipes import tiny
from procir.records import read_jsonl
from procir.train.log import read_log

QUICK = ["--max-steps", "2", "--batch-size", "2", "--max-tokens", "4096", "--share", "1.0", "--log-every", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "data"
    draw_catalogue(folder, AtelierConfig(train_products=48, val_products=28, size=64, seed=2))
    return folder


@pytest.fixture(scope="module")
def starter(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("starter") / "starter"
    ProCIR.from_shape("tiny", tokenizer, tiny.settings(), seed=4).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tuned(data, starter, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "run"
    words = ["sft", "--data", str(data), "--out", str(out), "--start", str(starter), "--save-every", "1", *QUICK]
    assert cli.main(words) == 0
    return out


def said(capsys, *words, status):
    capsys.readouterr()
    assert cli.main([str(word) for word in words]) == status
    printed = capsys.readouterr()
    return (printed.out + printed.err).replace("\n", " ")


def test_fine_tuning_leaves_a_model_that_training_starts_from(data, tuned, tmp_path, capsys):
    assert [row["step"] for row in read_log(tuned)] == [1, 2]
    said(
        capsys, "train", "--data", data, "--out", tmp_path / "run", "--start", tuned / "model", "--batch-size", "2",
        "--max-steps", "1", "--modification", "short", "--no-alignment", status=0,
    )  # fmt: skip
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    for folder in (tuned / "model", tmp_path / "run" / "model"):
        card = (folder / "README.md").read_text()
        assert "Data: atelier (48 products). Hash of the data: `" in card and str(tuned) not in card


def test_fine_tuning_refuses_to_write_over_a_model(data, tuned, starter, capsys):
    printed = said(capsys, "sft", "--data", data, "--out", tuned, "--start", starter, *QUICK, status=1)
    assert "holds a trained model: choose another folder, or go on from its checkpoints" in printed


def test_captions_that_are_none_are_counted_and_kept(data, tuned, tmp_path, capsys):
    """After two steps the model writes no captions; nothing is made up for it."""
    out = tmp_path / "captions.jsonl"
    printed = said(
        capsys, "caption", "--model", tuned / "model", "--catalogue", data, "--out", out, "--max-new", "4",
        "--batch-size", "4", status=0,
    )  # fmt: skip
    assert "The captions of 0 products are in" in printed
    assert "What the model wrote of 76 others is no caption" in printed
    assert list(read_jsonl(out)) == []
    failures = [row for _, row in read_jsonl(tmp_path / "captions.failures.jsonl")]
    assert len(failures) == 76
    assert {row["reason"] for row in failures} == {"the thought does not end"}
    assert all(row["text"] for row in failures)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "paper"], "the paper's runs need --data and --start"),
        (["--data", "here"], "--data and --start go with --recipe paper"),
        (["--variants", "MT+Aling"], "'MT+Aling' is no variant: choose from Single"),
        (["--seeds"], "no run is left"),
    ],
)
def test_ablations_that_cannot_be_are_refused(words, message, tmp_path, capsys):
    assert message in said(capsys, "ablate", "--out", tmp_path, *words, status=1)
    assert list(tmp_path.iterdir()) == []


def test_an_ablation_by_the_papers_recipe(data, starter, tmp_path, capsys, monkeypatch):
    """The paper's settings but for the numbers of steps and triplets, which a few drawn garments do not fill."""
    from dataclasses import replace

    from procir.recipes import ablation

    config, sft = ablation.TrainConfig, ablation.SftConfig
    monkeypatch.setattr(ablation, "TrainConfig", lambda **given: replace(config(**given), batch_size=2, max_steps=2))
    monkeypatch.setattr(
        ablation, "SftConfig", lambda **given: replace(sft(**given), batch_size=2, max_steps=1, share=1.0)
    )
    printed = said(
        capsys, "ablate", "--recipe", "paper", "--data", data, "--start", starter, "--out", tmp_path, "--seeds", "0",
        "--variants", "Single", "MT+Align", status=0,
    )  # fmt: skip
    assert "not run: After fine-tuning, CoT hurts" in printed
    table = json.loads((tmp_path / "ablation.json").read_text())
    assert table["runs"] == 4


def test_an_annotator_answers_for_a_catalogue_or_by_a_model(data, tuned, capsys):
    both = ["--catalogue", data, "--model", tuned / "model"]
    for words in ([], both):
        printed = said(capsys, "annotator", "serve", "--port", "0", *words, status=1)
        assert "give --catalogue, a folder that procir draw has made, or --model, a fine-tuned model" in printed
