"""What the card of a run says of where it began, what it is and what it learnt from."""

from dataclasses import replace

import pytest
import yaml

from procir.recipes.cards import save_trained, trained_card
from procir.records import data_hash
from procir.train import manifest
from procir.train.contrastive import BEST
from procir.train.sft_config import SftConfig
from training import crowded_split, fresh_model, settings


@pytest.fixture
def split(tmp_path):
    return crowded_split(tmp_path)


def front(card):
    return yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize(
    ("start", "words", "base"),
    [
        ("starter", "from the checkpoint that ships with procir.", None),
        ("scratch", "from random weights.", None),
        ("Qwen/Qwen3.5-0.8B", "from Qwen/Qwen3.5-0.8B.", "Qwen/Qwen3.5-0.8B"),
    ],
)
def test_where_a_run_began(split, tmp_path, start, words, base):
    card = trained_card("Tried", start, settings(), split, tmp_path)
    assert f"Tried: trained with procir on 14 triplets of 5 products, {words}" in card
    assert front(card).get("base_model") == base


def test_a_checkpoint_in_a_folder_hands_on_its_base_and_not_its_place(split, tmp_path):
    start = tmp_path / "secret" / "model"
    start.mkdir(parents=True)
    for text, words, base in (
        ("---\nbase_model: Qwen/Qwen3.5-4B\n---\n# Mine\n", "from a checkpoint of Qwen/Qwen3.5-4B.", "Qwen/Qwen3.5-4B"),
        ("# Mine\n", "from a checkpoint of its owner's.", None),
        ("---\na: [\n---\n", "from a checkpoint of its owner's.", None),
    ):
        (start / "README.md").write_text(text)
        card = trained_card("Tried", str(start), settings(), split, tmp_path)
        assert words in card and front(card).get("base_model") == base
        assert "secret" not in card


def test_data_and_settings_that_decide_the_weights(split, tmp_path):
    manifest.take(split).save(tmp_path)
    card = trained_card("Tried", "scratch", settings(trackers=("wandb",)), split, tmp_path)
    assert f"Data: noise (5 products). Hash of the data: `{data_hash(split)}`." in card
    assert "| batch_size | 7 |" in card and "| variant.two_turns | True |" in card
    assert "trackers" not in card and "save_every" not in card


def test_the_last_and_the_best_model_have_cards(split, tmp_path):
    model, out = fresh_model(), tmp_path / "out"
    model.save_pretrained(out / BEST)
    save_trained(model, "Tried", "scratch", replace(settings(), keep_best="R@10"), split, out)
    last, best = ((out / name / "README.md").read_text() for name in ("model", BEST))
    note = "Of the run's steps this one had the highest R@10 on the validation triplets it watched.\n\n"
    assert note in best and best.replace(note, "") == last
    save_trained(model, "Tuned", "scratch", SftConfig(), split, tmp_path / "sft")
    assert "Tuned: trained with procir" in (tmp_path / "sft" / "model" / "README.md").read_text()
