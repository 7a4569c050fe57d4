"""Candidates: exactly the nearest along each path, ties by key, and draws that growth elsewhere leaves alone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procir.construct import candidates
from procir.construct.candidates import group_products, mine
from procir.errors import ConfigError, DataError
from procir.types import Product, ProductKey


def keys_of(count):
    return [ProductKey("shop", f"p{number:05}") for number in range(count)]


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def noise(count, dim, seed):
    return unit(np.random.default_rng(seed).standard_normal((count, dim)))


def all_by_hand(keys, groups, paths, top):
    """The union that a look at every product gives, in float64, equal products in key order."""
    found = {}
    for number, key in enumerate(keys):
        others = [other for other in range(len(keys)) if other != number and groups[other] == groups[number]]
        union = set()
        for matrix in paths.values():
            scores = {other: float((matrix[other].astype(float) * matrix[number]).sum()) for other in others}
            union |= set(sorted(others, key=lambda other: (-scores[other], other))[:top])
        found[key] = {keys[other] for other in union}
    return found


def unions(keys, groups, paths, top):
    mined = mine(keys, groups, paths, top=top, sample=top * len(paths), seed=3)
    assert list(mined) == list(keys)
    assert all(len(set(found)) == len(found) for found in mined.values())
    return {key: set(found) for key, found in mined.items()}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(candidates, "ROWS", 7)
    monkeypatch.setattr(candidates, "COLUMNS", 40)
    monkeypatch.setattr(candidates, "_EXACT_PIECE", 5)


def test_the_union_is_that_of_a_look_at_every_product(small_blocks):
    count = 300
    keys = keys_of(count)
    groups = np.random.default_rng(0).choice(["tees", "coats", "hats"], count, p=[0.6, 0.3, 0.1]).tolist()
    paths = {"visual": noise(count, 16, 1), "long": noise(count, 24, 2), "short": noise(count, 16, 3)}
    assert unions(keys, groups, paths, 2) == all_by_hand(keys, groups, paths, 2)
    assert unions(keys, groups, paths, 20) == all_by_hand(keys, groups, paths, 20)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 3), st.integers(0, 1 << 30))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_the_union_is_exact_where_many_products_are_equal(count, top, kinds, seed):
    """Rows from a handful, so that almost all is tied."""
    rng = np.random.default_rng(seed)
    keys, groups = keys_of(count), rng.integers(0, 3, count).tolist()
    few = noise(4, 33, seed)
    paths = {str(kind): few[rng.integers(0, 4, count)] for kind in range(kinds)}
    assert unions(keys, groups, paths, top) == all_by_hand(keys, groups, paths, top)


def test_rows_that_differ_by_less_than_float32_tells_are_told_apart(small_blocks):
    """Neighbors of the first product whose cosines differ by some 1e-8, in an order that is not that of the keys."""
    count, dim = 120, 64
    rng = np.random.default_rng(4)
    far = 3e-3 + 1e-6 * rng.permutation(count)
    rows = np.zeros((count, dim), np.float32)
    rows[:, 0], rows[np.arange(count), 1 + np.arange(count) % (dim - 1)] = 1, far
    rows[0] = np.eye(dim, dtype=np.float32)[0]
    paths = {"visual": unit(rows)}
    single = (paths["visual"] @ paths["visual"][0]).astype(np.float32)
    assert len(np.unique(single)) < count  # float32 cannot tell them
    keys, groups = keys_of(count), [0] * count
    for top in (1, 10, 50):
        assert unions(keys, groups, paths, top) == all_by_hand(keys, groups, paths, top)


def test_ties_go_by_key_however_the_blocks_lie(monkeypatch):
    """Ninety equal rows: the nearest of each are the first of the others."""
    keys, paths = keys_of(90), {"visual": np.repeat(noise(1, 50, 0), 90, axis=0)}
    for rows, columns in ((512, 2048), (8, 50), (1, 1), (90, 7)):
        monkeypatch.setattr(candidates, "ROWS", rows)
        monkeypatch.setattr(candidates, "COLUMNS", columns)
        found = unions(keys, [None] * 90, paths, 20)
        assert found[keys[40]] == set(keys[:20])
        assert found[keys[3]] == set(keys[:21]) - {keys[3]}


def test_small_groups_give_what_they_have():
    keys, groups = keys_of(6), ["a", "b", "a", "c", "a", "c"]
    found = mine(keys, groups, {"visual": noise(6, 8, 0)}, top=20, sample=10, seed=0)
    assert {key: set(others) for key, others in found.items()} == {
        keys[0]: {keys[2], keys[4]},
        keys[1]: set(),
        keys[2]: {keys[0], keys[4]},
        keys[3]: {keys[5]},
        keys[4]: {keys[0], keys[2]},
        keys[5]: {keys[3]},
    }
    assert mine([], [], {"visual": np.zeros((0, 8), np.float32)}, seed=0) == {}


def test_the_draw_takes_ten_of_the_union_and_depends_on_the_seed():
    keys, groups = keys_of(200), ["a"] * 200
    paths = {name: noise(200, 16, seed) for seed, name in enumerate(("visual", "long", "short"))}
    whole = unions(keys, groups, paths, 20)
    one, again, other = (mine(keys, groups, paths, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert all(len(found) == 10 and set(found) < whole[key] for key, found in one.items())
    assert sum(one[key] != other[key] for key in keys) > 190
    assert sum(list(found) != sorted(found) for found in one.values()) > 190  # no order gives the likeness away


def test_draws_are_even():
    """Of thirty equal candidates, each is drawn about as often, over two thousand sources."""
    count = 2000
    keys = keys_of(count)
    found = mine(keys, [0] * count, {"visual": np.repeat(noise(1, 4, 0), count, axis=0)}, top=30, sample=10, seed=7)
    times = np.array([sum(key in others for others in found.values()) for key in keys[:30]])
    assert abs(times - count / 3).max() < 4.5 * (count * 2 / 9) ** 0.5
    first = np.array([sum(others[0] == key for others in found.values()) for key in keys[:30]])
    assert abs(first - count / 30).max() < 4.5 * (count / 30) ** 0.5


def test_growth_elsewhere_and_other_orders_change_nothing(small_blocks):
    """A product's candidates stay when another group grows, and when paths or groups come in another order."""
    keys = keys_of(120)
    groups = ["a" if number % 3 else "b" for number in range(120)]
    paths = {"visual": noise(120, 16, 1), "long": noise(120, 8, 2)}
    before = mine(keys, groups, paths, top=5, sample=4, seed=9)
    kept = [number for number in range(120) if groups[number] == "a" or number < 60]
    fewer = mine(
        [keys[number] for number in kept],
        [groups[number] for number in kept],
        {name: paths[name][kept] for name in ("long", "visual")},
        top=5, sample=4, seed=9,
    )  # fmt: skip
    assert all(before[key] == fewer[key] for key, group in zip(keys, groups, strict=True) if group == "a")
    assert any(before[key] != fewer[key] for key in fewer)


def test_a_newcomer_in_the_set_replaces_at_most_itself():
    """With every other product a neighbor, a draw after growth differs by the newcomer alone."""
    keys, rows = keys_of(41), noise(41, 8, 5)
    before = mine(keys[:40], [0] * 40, {"visual": rows[:40]}, top=50, sample=10, seed=1)
    after = mine(keys, [0] * 41, {"visual": rows}, top=50, sample=10, seed=1)
    assert {frozenset(after[key]) - frozenset(before[key]) for key in keys[:40]} == {
        frozenset(), frozenset({keys[40]}),
    }  # fmt: skip
    for key in keys[:40]:
        stayed = [other for other in after[key] if other != keys[40]]
        assert stayed == list(before[key][: len(stayed)])


def test_files_in_half_precision_are_read_where_they_lie(tmp_path, small_blocks):
    rows = noise(100, 16, 1).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    keys, groups = keys_of(100), [0] * 100
    assert unions(keys, groups, {"visual": mapped}, 4) == all_by_hand(keys, groups, {"visual": rows}, 4)


def test_memory_does_not_grow_with_the_square(monkeypatch):
    """Similarities of 3,000 products would take 36 MB."""
    monkeypatch.setattr(candidates, "ROWS", 128)
    monkeypatch.setattr(candidates, "COLUMNS", 512)
    keys, groups, paths = keys_of(3000), [0] * 3000, {"visual": noise(3000, 8, 0)}
    tracemalloc.start()
    mine(keys, groups, paths, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6


def test_progress_counts_products(small_blocks):
    told = []
    mine(keys_of(20), [0] * 15 + [1] * 5, {"visual": noise(20, 4, 0)}, seed=0, progress=lambda *step: told.append(step))
    assert told == [(7, 20), (14, 20), (15, 20), (20, 20)]


def test_groups_are_dataset_category_and_gender():
    products = [
        Product(ProductKey("b", "1"), (), "tees", "women"),
        Product(ProductKey("a", "3"), (), "tees", "women"),
        Product(ProductKey("a", "2"), (), None, "women"),
        Product(ProductKey("a", "1"), (), "tees", "women"),
        Product(ProductKey("a", "4"), (), "tees", None),
        Product(ProductKey("a", "5"), (), None, "women"),
    ]
    grouping = group_products(products)
    assert [str(key) for key in grouping.keys] == ["a/1", "a/2", "a/3", "a/4", "a/5", "b/1"]
    assert grouping.groups == (
        ("a", "tees", "women"), ("a", None, "women"), ("a", "tees", "women"), ("a", "tees", None), ("a", None, "women"),
        ("b", "tees", "women"),
    )  # fmt: skip
    assert grouping.findings.counts == {
        "products without a category": 2,
        "products without a gender": 1,
        "products alone in their group": 2,
    }
    assert grouping.findings.names["products alone in their group"] == ["a/4", "b/1"]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"keys": keys_of(4)[::-1]}, DataError, "shop/p00002 comes after shop/p00003: sort the products"),
        ({"keys": [keys_of(1)[0]] * 4}, DataError, "each once"),
        ({"groups": [0] * 3}, DataError, "path 'visual': 4 embeddings and 3 groups for 4 products"),
        ({"paths": {"short": noise(5, 4, 0)}}, DataError, "path 'short': 5 embeddings and 4 groups for 4 products"),
        ({"paths": {"visual": 1.01 * noise(4, 4, 0)}}, DataError, "'visual': the embedding of shop/p00000 has not le"),
        ({"paths": {"visual": np.full((4, 4), np.nan, np.float32)}}, DataError, "encode again what is not finite"),
        ({"paths": {}}, ConfigError, "0 paths"),
        ({"top": 0}, ConfigError, "top 0"),
        ({"sample": 0}, ConfigError, "sample 0"),
    ],
)
def test_what_cannot_be_mined_is_refused(change, error, said):
    arguments = {"keys": keys_of(4), "groups": [0] * 4, "paths": {"visual": noise(4, 4, 0)}} | change
    with pytest.raises(error, match=said):
        mine(arguments.pop("keys"), arguments.pop("groups"), arguments.pop("paths"), seed=0, **arguments)
