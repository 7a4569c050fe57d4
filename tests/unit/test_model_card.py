import yaml

from procir.report.model_card import CardFacts, model_card, with_results

FOUND = {
    "rows": {"procir": {"R@1": 12.5, "R@5": 50.0}},
    "datasets": {"atelier": {"queries": 8, "gallery": 6, "rows": {"procir": {"R@1": 12.5, "R@5": 50.0}}}},
    "queries": 8, "gallery": 6, "data_hash": "0123456789abcdef" * 4, "versions": {"procir": "0.1.0"},
}  # fmt: skip


def front(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_a_card_says_what_was_trained():
    card = model_card(
        CardFacts(title="Mine", about="Trained on shoes.", base_model="Qwen/Qwen3.5-0.8B", settings={"a": {"b": 3}})
    )
    assert front(card) == {
        "base_model": "Qwen/Qwen3.5-0.8B", "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["composed-image-retrieval", "multimodal-embeddings", "procir"],
    }  # fmt: skip
    assert "# Mine\n\nTrained on shoes." in card and "| a.b | 3 |" in card


def test_results_take_the_place_of_earlier_ones_and_nothing_else():
    card = model_card(CardFacts(title="Mine", about="Trained on shoes.")) + "\n## Own words\n\nKeep me.\n"
    once = with_results(card, [{**FOUND, "rows": {"procir": {"R@1": 1.0, "R@5": 2.0}}}], name="me/mine")
    twice = with_results(once, [FOUND], name="me/mine", license="mit")
    assert twice.count("## Results") == 1 and "Keep me." in twice and "| atelier | 8 | 6 | 12.50 | 50.00 |" in twice
    assert 'from_pretrained("me/mine")' in twice
    index = front(twice)["model-index"]
    values = [metric["value"] for result in index[0]["results"] for metric in result["metrics"]]
    assert (index[0]["name"], values, front(twice)["license"]) == ("me/mine", [12.5, 50.0], "mit")


def test_without_results_the_text_stays():
    card = model_card(CardFacts(title="Mine", about="Trained on shoes."))
    assert with_results(card, [], name="path/or/hub-id") == card


def test_an_empty_card_gets_one():
    assert "## Results" in with_results("", [FOUND], name="me/mine")
