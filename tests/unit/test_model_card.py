import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from procir.report.model_card import CardFacts, model_card, with_results

FOUND = {
    "rows": {"procir": {"R@1": 12.5, "R@5": 50.0}},
    "datasets": {"atelier": {"queries": 8, "gallery": 6, "rows": {"procir": {"R@1": 12.5, "R@5": 50.0}}}},
    "queries": 8, "gallery": 6, "data_hash": "0123456789abcdef" * 4, "versions": {"procir": "0.1.0"},
    "config": {"split": "val", "protocol": "released"},
}  # fmt: skip


def front(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_a_card_says_what_was_trained():
    card = model_card(
        CardFacts(
            title="Mine", about="Trained on shoes.", base_model="Qwen/Qwen3.5-0.8B", settings={"a": {"b": 3}},
            datasets={"f200k": 1234, "deepfashion": 5}, data_hash="0123abcd",
        )
    )  # fmt: skip
    assert front(card) == {
        "base_model": "Qwen/Qwen3.5-0.8B", "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["composed-image-retrieval", "multimodal-embeddings", "procir"],
    }  # fmt: skip
    assert "# Mine\n\nTrained on shoes.\n\n## Use\n" in card and "| a.b | 3 |" in card
    assert "Data: deepfashion (5 products), f200k (1,234 products). Hash of the data: `0123abcd`." in card
    assert "## Limitations\n\nIt has learnt from deepfashion (5 products), f200k (1,234 products). " in card


def test_results_take_the_place_of_earlier_ones_and_nothing_else():
    card = model_card(CardFacts(title="Mine", about="Trained on shoes.")) + "\n## Own words\n\nKeep me.\n"
    once = with_results(card, [{**FOUND, "rows": {"procir": {"R@1": 1.0, "R@5": 2.0}}}], name="me/mine")
    twice = with_results(once, [FOUND], name="me/mine", license="mit")
    assert twice.count("## Results") == 1 and "Keep me." in twice and "| atelier | 8 | 6 | 12.50 | 50.00 |" in twice
    assert 'from_pretrained("me/mine")' in twice
    index = front(twice)["model-index"]
    values = [metric["value"] for result in index[0]["results"] for metric in result["metrics"]]
    assert (index[0]["name"], values, front(twice)["license"]) == ("me/mine", [12.5, 50.0], "mit")
    assert {result["dataset"]["split"] for result in index[0]["results"]} == {"val"}
    assert "Split val, protocol released, data hash `0123456789abcdef`, procir 0.1.0." in twice


def test_without_results_the_text_stays():
    card = model_card(CardFacts(title="Mine", about="Trained on shoes."))
    assert with_results(card, [], name="path/or/hub-id") == card


def test_what_the_hub_must_know_is_added_and_what_a_card_says_stays():
    card = with_results("---\nlibrary_name: other\nlanguage: en\n---\n# Mine\n", [FOUND], name="me/mine")
    told = front(card)
    assert (told["library_name"], told["language"], told["pipeline_tag"]) == ("other", "en", "feature-extraction")
    assert "composed-image-retrieval" in told["tags"] and "# Mine\n\n## Results\n" in card


@pytest.mark.parametrize("front", ["a: [", "- a", "model-index:\n- results: 3"], ids=["yaml", "list", "index"])
def test_a_card_whose_metadata_is_none_is_refused(front):
    with pytest.raises(ValueError):
        with_results(f"---\n{front}\n---\n# Mine\n", [FOUND], name="me/mine")


def test_sentence_transformers_loads_a_model_the_same_with_a_whole_card(tiny, tmp_path):
    facts = CardFacts(title="Mine", about="Trained on shoes.", base_model="Qwen/Qwen3.5-0.8B", settings={"a": 3})
    card = with_results(model_card(facts), [FOUND], name="me/mine", license="mit")
    tiny.save_pretrained(tmp_path / "plain")
    tiny.save_pretrained(tmp_path / "mine", card=card)
    plain, mine = (SentenceTransformer(str(tmp_path / name), device="cpu") for name in ("plain", "mine"))
    np.testing.assert_array_equal(mine.encode(["navy dress"]), plain.encode(["navy dress"]))
    mine.save_pretrained(str(tmp_path / "again"))
    assert front((tmp_path / "again" / "README.md").read_text()) == front(card)
