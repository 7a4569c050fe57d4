"""The evaluation protocol on hand-made splits, and results.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedders import HashEmbedder, TableEmbedder
from procir.errors import ConfigError, DataError, MissingDataError, ModelError, RecordError, UnknownProductError
from procir.evaluate import protocol, results
from procir.evaluate.statistics import Asked, recall_interval
from procir.types import Caption, Product, ProductKey, Query, Split, Triplet, View


def product(name: str, dataset: str = "shop", views: Sequence[str] = ("front", "back")) -> Product:
    key = ProductKey(dataset, name)
    return Product(key, tuple(View(Path(f"{dataset}/{name}/{view}.jpg"), view) for view in views))


def split_of(
    products: Sequence[Product], pairs: Sequence[tuple[Product, Product, str]], captions: bool = True
) -> Split:
    return Split(
        name="val",
        products={item.key: item for item in products},
        captions={item.key: Caption(item.key, "long", f"short {item.key}") for item in products if captions},
        triplets=tuple(Triplet(source.key, target.key, text) for source, target, text in pairs),
    )


def circle(count: int, dataset: str = "shop") -> Split:
    items = [product(f"p{index:02}", dataset) for index in range(count)]
    return split_of(items, [(items[i], items[(i + 1) % count], f"text {i}") for i in range(count)])


def join(*splits: Split) -> Split:
    return Split(
        name="val",
        products={key: item for split in splits for key, item in split.products.items()},
        captions={key: item for split in splits for key, item in split.captions.items()},
        triplets=tuple(triplet for split in splits for triplet in split.triplets),
    )


ANGLES = {"a": 0.0, "b": 0.5, "c": 1.0, "d": 1.6}
"""Four products on a quarter of the unit circle, by id."""


def at(angle: float) -> list[float]:
    return [float(np.cos(angle)), float(np.sin(angle))]


def angle_embedder() -> TableEmbedder:
    """A query turns its source by the number in its text; a caption stands where its number says."""
    return TableEmbedder(
        dim=2,
        product=lambda item: at(ANGLES[item.key.product_id]),
        query=lambda query: at(ANGLES[query.source.key.product_id] + float(query.text)),
        caption=lambda text: at(float(text)),
    )


def angle_split() -> Split:
    a, b, c, d = (product(name) for name in "abcd")
    split = split_of([a, b, c, d], [(a, b, "0.5"), (a, c, "0.45"), (d, c, "0.0")])
    captions = {key: Caption(key, "", str(ANGLES[key.product_id] + 0.2)) for key in split.products}
    captions[d.key] = Caption(d.key, "", "0.0")
    return replace(split, captions=captions)


def test_ranks_of_a_hand_computed_split() -> None:
    found = protocol.evaluate(angle_embedder(), angle_split(), ks=(1, 2, 3))
    # a + 0.5 meets b; a + 0.45 meets b, then a, which is nearer than c; d + 0 meets d, then c.
    assert [(ranked.triplet.short, ranked.rank) for ranked in found.queries] == [("0.5", 1), ("0.45", 3), ("0.0", 2)]
    assert [found.cir.recall(k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert [key.product_id for key, _ in found.queries[1].top] == ["b", "a", "c", "d"]
    assert found.queries[0].top[0][1] == pytest.approx(1.0)


def test_captions_are_ranked_both_ways() -> None:
    found = protocol.evaluate(angle_embedder(), angle_split(), ks=(1, 2, 4))
    # Captions of a, b, c stand 0.2 further on, that of d at 0: a's image is nearest to d's caption, then its own;
    # d's image meets the captions of c, b, a, d in this order.
    assert found.i2t.datasets["shop"].ranks.tolist() == [2, 1, 1, 4]
    assert found.t2i.datasets["shop"].ranks.tolist() == [1, 1, 1, 4]


def test_the_plain_rows_of_a_hand_computed_split() -> None:
    embedder, split = angle_embedder(), angle_split()
    rows = protocol.plain_rows(embedder, protocol.evaluate(embedder, split))
    assert list(rows) == ["source only", "text only", "only back", "only front"]
    assert rows["source only"].datasets["shop"].ranks.tolist() == [2, 3, 2]
    assert rows["text only"].datasets["shop"].ranks.tolist() == [1, 3, 3]


def test_shorter_embeddings_keep_their_first_numbers() -> None:
    """The last numbers alone find the targets, the first alone mislead: a's query looks like b, and so on."""
    place = {"a": 0, "b": 1, "c": 2}

    def document(item: Product) -> list[float]:
        row = place[item.key.product_id]
        return [*np.eye(3)[row], *(3 * np.eye(3)[row])]

    def query(item: Query) -> list[float]:
        target = int(item.text)
        return [*np.eye(3)[(target + 1) % 3], *(3 * np.eye(3)[target])]

    embedder = TableEmbedder(6, document, query, lambda _: [1, 0, 0, 0, 0, 0])
    a, b, c = (product(name) for name in "abc")
    found = protocol.evaluate(embedder, split_of([a, b, c], [(a, b, "1"), (b, c, "2"), (c, a, "0")]))
    rows = protocol.truncated_rows(found, [3, 4])
    assert found.cir.recall(1) == 1.0
    assert rows["first 3"].recall(1) == 0.0
    # With a's fourth number, its own query finds it at 9 / (sqrt(10) * sqrt(10)) against 1 / sqrt(10).
    assert rows["first 4"].recall(1) == pytest.approx(1 / 3)
    with pytest.raises(ConfigError, match="6 numbers are no part of an embedding of 6: choose 1 to 5"):
        protocol.truncated_rows(found, [6])


def test_the_gallery_holds_sources_and_targets_once_sorted_by_key() -> None:
    z, y, x, unused = (product(name) for name in ("z", "y", "x", "unused"))
    split = split_of([z, unused, y, x], [(z, y, "one"), (z, x, "two")])
    (gallery,) = protocol.galleries(split)
    assert [key.product_id for key in gallery.keys] == ["x", "y", "z"]
    assert gallery.targets().tolist() == [0, 1]
    assert gallery.sources().tolist() == [2, 2]


def test_every_product_is_encoded_once() -> None:
    embedder = HashEmbedder()
    split = join(circle(30, "one"), circle(20, "two"))
    evaluation = protocol.evaluate(embedder, split)
    assert embedder.asked == {"products": 50, "queries": 50, "captions": 50}
    protocol.plain_rows(embedder, evaluation)
    assert embedder.asked == {"products": 150, "queries": 150, "captions": 100}


def test_a_bare_id_in_two_datasets_is_two_products() -> None:
    one, two = circle(12, "one"), circle(12, "two")
    both = protocol.evaluate(HashEmbedder(), join(one, two))
    for name, alone in (("one", one), ("two", two)):
        expected = protocol.evaluate(HashEmbedder(), alone).cir.datasets[name]
        assert both.cir.datasets[name].ranks.tolist() == expected.ranks.tolist()
        assert both.cir.datasets[name].gallery_size == 12
    assert len(both.queries) == 24


def test_the_mean_is_over_datasets_not_over_queries() -> None:
    rows = {
        "small": protocol.Retrieval(ranks=np.array([1]), gallery_size=10),
        "large": protocol.Retrieval(ranks=np.array([2, 2, 2, 1]), gallery_size=10),
    }
    assert protocol.Row(datasets=rows).recall(1) == pytest.approx((1.0 + 0.25) / 2)


def test_a_k_beyond_a_gallery_is_none_there_and_in_the_mean() -> None:
    found = protocol.evaluate(HashEmbedder(), join(circle(3, "small"), circle(12, "large")))
    assert found.cir.datasets["small"].recall(5) is None
    assert found.cir.datasets["large"].recall(5) is not None
    assert found.cir.recall(5) is None
    assert found.cir.recall(1) is not None


def test_without_captions_there_is_no_text_retrieval() -> None:
    items = [product("a"), product("b")]
    found = protocol.evaluate(HashEmbedder(), split_of(items, [(items[0], items[1], "x")], captions=False), ks=(1,))
    assert found.i2t.recall(1) is None
    assert found.t2i.recall(1) is None


def test_a_product_without_caption_stays_in_the_image_gallery() -> None:
    split = angle_split()
    captions = {key: caption for key, caption in split.captions.items() if key.product_id != "a"}
    found = protocol.evaluate(angle_embedder(), replace(split, captions=captions), ks=(1,))
    assert found.i2t.datasets["shop"].gallery_size == 3
    assert found.t2i.datasets["shop"].gallery_size == 4
    # d's caption stands at a: a, b and c are nearer than d.
    assert found.t2i.datasets["shop"].ranks.tolist() == [1, 1, 4]


def test_single_view_rows_keep_every_query_and_count_what_lacks_the_view() -> None:
    items = [product("a"), product("b"), product("c", views=("front", "side")), product("d", views=("back",))]
    split = split_of(items, [(items[0], items[1], "x"), (items[2], items[3], "y")])
    embedder = HashEmbedder()
    evaluation = protocol.evaluate(embedder, split)
    embedder.products.clear()
    embedder.query_sources.clear()
    rows = protocol.plain_rows(embedder, evaluation)
    assert {name: row.substituted for name, row in rows.items() if name.startswith("only ")} == {
        "only back": 1,
        "only front": 1,
        "only side": 3,
    }
    assert all(len(row.datasets["shop"].ranks) == 2 for row in rows.values())
    assert all(len(item.views) == 1 for item in embedder.products + embedder.query_sources)
    kept = {(item.key.product_id, item.views[0].name) for item in embedder.products[-4:]}
    assert kept == {("a", "front"), ("b", "front"), ("c", "side"), ("d", "back")}


def test_a_row_of_another_embedder_equals_its_evaluation() -> None:
    split = circle(15)
    row = protocol.cir_row(HashEmbedder(dim=8), split)
    expected = protocol.evaluate(HashEmbedder(dim=8), split).cir
    assert row.datasets["shop"].ranks.tolist() == expected.datasets["shop"].ranks.tolist()


def test_the_order_of_products_and_triplets_does_not_matter() -> None:
    split = join(circle(14, "one"), circle(9, "two"))
    turned = replace(
        split,
        products=dict(reversed(split.products.items())),
        captions=dict(reversed(split.captions.items())),
        triplets=tuple(reversed(split.triplets)),
    )
    one, other = (protocol.evaluate(HashEmbedder(), each) for each in (split, turned))
    assert one.queries == other.queries
    for name in ("one", "two"):
        assert one.i2t.datasets[name].ranks.tolist() == other.i2t.datasets[name].ranks.tolist()


def test_one_embedding_for_everything_finds_nothing() -> None:
    constant = TableEmbedder(4, lambda _: [1, 0, 0, 0], lambda _: [1, 0, 0, 0], lambda _: [1, 0, 0, 0])
    found = protocol.evaluate(constant, circle(30))
    assert [row.recall(k) for row in (found.cir, found.i2t, found.t2i) for k in (1, 5, 10)] == [0.0] * 9


def test_progress_tells_stage_done_and_all() -> None:
    told: list[tuple[str, int, int]] = []
    protocol.evaluate(HashEmbedder(), circle(300), progress=lambda *step: told.append(step))
    assert told == [
        ("products and queries", 256, 300), ("products and queries", 300, 300),
        ("captions", 256, 300), ("captions", 300, 300),
    ]  # fmt: skip


def broken(of: str, row: list[float]) -> TableEmbedder:
    embedder = angle_embedder()
    embedder._rows = lambda rows: np.array(rows, dtype=np.float32)  # type: ignore[method-assign]
    honest = embedder._product
    embedder._product = lambda item: row if item.key.product_id == of else honest(item)
    return embedder


def test_an_embedding_with_nan_names_its_product() -> None:
    with pytest.raises(DataError, match="product shop/c holds NaN"):
        protocol.evaluate(broken("c", [float("nan"), 0.0]), angle_split())


def test_an_embedding_of_another_length_names_its_product() -> None:
    with pytest.raises(ModelError, match=r"product shop/b has length 3\.000"):
        protocol.evaluate(broken("b", [3.0, 0.0]), angle_split())


def test_a_wrong_number_of_embeddings_is_refused() -> None:
    embedder = angle_embedder()
    embedder.encode_queries = lambda queries: np.zeros((1, 2), dtype=np.float32)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"shape \(1, 2\) for 3 items"):
        protocol.evaluate(embedder, angle_split())


def test_unusable_splits_are_refused() -> None:
    a, b = product("a"), product("b", dataset="other")
    with pytest.raises(MissingDataError, match="no triplets"):
        protocol.evaluate(HashEmbedder(), split_of([a], []))
    with pytest.raises(DataError, match="joins two datasets"):
        protocol.evaluate(HashEmbedder(), split_of([a, b], [(a, b, "x")]))
    with pytest.raises(UnknownProductError, match="shop/c, which the catalogue lacks"):
        protocol.evaluate(HashEmbedder(), split_of([a], [(a, product("c"), "x")]))
    with pytest.raises(ConfigError, match="ks"):
        protocol.evaluate(HashEmbedder(), circle(3), ks=(0, 1))


def built(split: Split) -> dict[str, object]:
    embedder = HashEmbedder()
    evaluation = protocol.evaluate(embedder, split)
    rows = protocol.plain_rows(embedder, evaluation)
    return results.build_results(
        evaluation, rows, seed=7, data_hash="abc", config={"steps": 12}, seconds={"training": 1.23456}
    )


def test_results_hold_percentages_and_come_back_as_written(tmp_path: Path) -> None:
    content = built(join(circle(11, "one"), circle(13, "two")))
    path = tmp_path / "results.json"
    results.write_results(path, content)
    assert results.read_results(path) == content
    assert list(content["rows"])[:3] == ["procir", "source only", "text only"]
    assert (content["queries"], content["gallery"], content["seed"]) == (24, 24, 7)
    assert content["seconds"]["training"] == 1.235
    assert set(content["versions"]) == {"python", "procir", "torch", "transformers", "numpy"}
    ones, twos = (content["datasets"][name]["rows"]["procir"]["R@5"] for name in ("one", "two"))
    assert content["rows"]["procir"]["R@5"] == pytest.approx((ones + twos) / 2, abs=0.011)
    assert ones == round(100 * round(ones * 11 / 100) / 11, 2)


def test_a_small_folder_gives_null_for_the_larger_ks(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.write_results(path, built(circle(4)))
    assert json.loads(path.read_text())["rows"]["procir"]["R@10"] is None
    assert results.read_results(path)["rows"]["procir"]["R@1"] is not None


def test_intervals_surround_the_recalls_in_percent() -> None:
    content = built(join(circle(11, "one"), circle(13, "two")))
    assert content["intervals"].keys() == content["rows"]["procir"].keys()
    for name, (low, high) in content["intervals"].items():
        assert 0 <= low <= content["rows"]["procir"][name] <= high <= 100
    evaluation = protocol.evaluate(HashEmbedder(), circle(12))
    (part,) = evaluation.galleries
    own = recall_interval({part.dataset: Asked(evaluation.cir.datasets[part.dataset].ranks, part.sources())}, 5)
    assert built(circle(12))["intervals"]["R@5"] == [round(100 * own.low, 2), round(100 * own.high, 2)]
    assert built(circle(4))["intervals"]["R@10"] is None


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda content: content.pop("data_hash"), "'data_hash' is missing"),
        (lambda content: content["rows"].pop("procir"), "rows lack 'procir'"),
        (lambda content: content["rows"]["procir"].update({"R@1": 140}), "R@1 of row 'procir' is 140"),
        (lambda content: content.update(i2t={}), "'i2t' is not a table"),
    ],
)
def test_damaged_results_are_refused(tmp_path: Path, damage, complaint: str) -> None:
    content = built(circle(12))
    damage(content)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=complaint):
        results.read_results(path)


def test_results_that_are_absent_or_no_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no such results file"):
        results.read_results(tmp_path / "results.json")
    (tmp_path / "results.json").write_text("{\n oops")
    with pytest.raises(RecordError, match=r"results\.json:2: not JSON"):
        results.read_results(tmp_path / "results.json")
