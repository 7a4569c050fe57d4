"""The choice of triplets, their true sets by brute force, and their texts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from random import Random
from statistics import median

import pytest
from atelier_truth import NEUTRAL, names, sheet, vary
from hypothesis import given, settings
from hypothesis import strategies as st

from procir.catalog.atelier.catalogue import AtelierConfig, design
from procir.catalog.atelier.comparison import compare, views_involved
from procir.catalog.atelier.garments import GROUPS_BY_NAME, VIEW_NAMES, attributes
from procir.catalog.atelier.modifications import write_modification
from procir.catalog.atelier.pairs import Sheets, Shelf, choose_pairs, distinct_views, satisfying
from procir.catalog.atelier.sampling import generator, sample
from procir.types import ProductKey

_SLIPS = re.compile(
    r"\b(the the|a an|the a|the no|a the|add no|remove no)\b|[{}]|  | [,.;]|\.\.|\b[Aa] [aeio]|\bthis \w+s\b(?<!ss)"
)


@pytest.fixture(scope="module")
def val():
    return design(AtelierConfig(train_products=1, val_products=190, seed=5))["val"]


@pytest.fixture(scope="module")
def pairs(val):
    return choose_pairs(val.garments, generator("pairs", "val", 5))


def meets(source, target, product):
    """The definition, attribute by attribute, on what the photos show."""
    source_sheet, target_sheet, shown = sheet(source), sheet(target), sheet(product)
    for attribute in attributes(source.group):
        name = attribute.name
        views_of_source = any(view in attribute.views for view in source.views)
        if not views_of_source:
            continue
        before, after = source_sheet.get(name), target_sheet.get(name)
        asked = after is not None and before != after and (before is not None or after not in NEUTRAL)
        if asked:
            complete = sheet(replace(product, views=VIEW_NAMES))
            if complete.get(name) != after:
                return False
        elif name in shown:
            if before is None and shown[name] not in NEUTRAL:
                return False
            if before is not None and shown[name] != before:
                return False
    return True


def test_true_sets_by_brute_force(val, pairs):
    for pair in pairs[::11]:
        source, target = val.garments[pair.source], val.garments[pair.target]
        expected = [
            key
            for key, product in val.garments.items()
            if product.group == source.group and meets(source, target, product)
        ]
        assert list(pair.satisfying) == expected
        assert pair.target in pair.satisfying
        assert pair.source not in pair.satisfying


def test_satisfying_answers_for_a_single_request(val, pairs):
    for pair in pairs[::40]:
        assert satisfying(pair.source, pair.target, val.garments) == pair.satisfying


def test_a_hidden_side_neither_helps_nor_harms():
    group = GROUPS_BY_NAME["women-tees_tanks"]
    values = {a.name: a.values[0] for a in attributes(group)}
    base = replace(sample(group, Random(0)), values={**values, "accent": "white"}, views=("front", "side", "back"))

    def tee(views="front side back", **changed):
        return replace(base, values={**base.values, **changed}, views=tuple(views.split()))

    garments = {
        ProductKey("atelier", name): garment
        for name, garment in {
            "source": tee(back="bow"),
            "target": tee(back="yoke"),
            "side hidden": tee("front back", back="yoke", side="lacing"),
            "other side": tee(back="yoke", side="lacing"),
            "back hidden": tee("front side", back="yoke"),
            "other back hidden": tee("front side", back="keyhole"),
            "other color": tee(back="yoke", color="navy"),
        }.items()
    }
    keys = {key.product_id: key for key in garments}
    found = satisfying(keys["source"], keys["target"], garments)
    assert [key.product_id for key in found] == ["target", "side hidden", "back hidden"]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.sampled_from(sorted(GROUPS_BY_NAME)), st.integers(0, 10**6))
def test_arrays_and_sheets_find_the_same_differences(name, seed):
    rng = Random(seed)
    base = sample(GROUPS_BY_NAME[name], rng)
    garments = [base, *(vary(replace(base, views=sample(base.group, rng).views), rng, 3) for _ in range(5))]
    columns = [attribute.name for attribute in attributes(base.group)]
    differences = Sheets(garments).differences(0)
    for garment, row in zip(garments, differences, strict=True):
        expected = [change.attribute for change in compare(base, garment)]
        assert [column for column, differs in zip(columns, row, strict=True) if differs] == expected


def test_rivals_are_counted_over_all_groups(val, pairs):
    shelf = Shelf(list(val.garments.values()))
    sheets = [sheet(garment) for garment in val.garments.values()]
    for pair in pairs[::20]:
        expected = sum(all(shown.get(c.attribute) == c.new for c in pair.changes) for shown in sheets) - 1
        assert shelf.rivals(pair.changes) == expected


def test_pairs_keep_to_the_rules(val, pairs):
    assert len(pairs) == len({(pair.source, pair.target) for pair in pairs})
    targets = Counter(pair.source for pair in pairs)
    assert max(targets.values()) == 2
    assert len(targets) > 0.98 * len(val.garments)
    for pair in pairs:
        source, target = val.garments[pair.source], val.garments[pair.target]
        assert source.group == target.group
        assert pair.changes == compare(source, target)
        assert 2 <= len(pair.changes) <= 5
        assert len(views_involved(pair.changes)) >= 2
    assert sum(distinct_views(pair.changes) for pair in pairs) >= 0.8 * len(pairs)
    assert sum(len(pair.satisfying) > 1 for pair in pairs) <= 0.02 * len(pairs)
    assert sum(len(pair.changes) > 2 for pair in pairs) >= 0.1 * len(pairs)


def test_texts_name_every_difference(val):
    for triplet in val.triplets:
        source, target = val.garments[triplet.source], val.garments[triplet.target]
        for change in compare(source, target):
            for text in (triplet.short, triplet.long):
                assert _named(text, change), (change, text)


def _named(text, change):
    if change.new == "solid":
        return names(text, "pattern", "solid") or names(text, "pattern", change.old)
    if change.new not in NEUTRAL:
        return names(text, change.attribute, change.new)
    gone = change.old is not None and change.old not in NEUTRAL and names(text, change.attribute, change.old)
    return gone or re.search(r"\b(no|plain|clean|unadorned|unbroken|without|intact)\b", text)


def test_lengths_of_modification_texts(val):
    shorts = [len(triplet.short.split()) for triplet in val.triplets]
    longs = [len(triplet.long.split()) for triplet in val.triplets]
    assert min(shorts) >= 16
    assert max(shorts) <= 32
    assert min(longs) >= 64
    assert max(longs) <= 128
    assert 21 <= median(shorts) <= 26
    assert 78 <= median(longs) <= 92


def test_long_texts_name_two_views_and_the_short_ones_say_where(val):
    words = {"front": "front", "back": "back", "side": "side", "detail": "detail"}
    for triplet in val.triplets:
        assert len(triplet.views_involved) >= 2
        for view in triplet.views_involved:
            assert words[view] in triplet.long.lower(), (view, triplet.long)


def test_modification_texts_are_clean_and_varied(val):
    for triplet in val.triplets:
        for text in (triplet.short, triplet.long):
            assert not _SLIPS.search(text), (_SLIPS.search(text), text)
            assert text[0].isupper()
            assert text[-1] in ".?"
    openings = Counter(triplet.short.split()[0] for triplet in val.triplets)
    assert len(openings) >= 15
    assert max(openings.values()) <= 0.3 * len(val.triplets)
    assert len({triplet.short for triplet in val.triplets}) >= 0.95 * len(val.triplets)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.sampled_from(sorted(GROUPS_BY_NAME)), st.integers(0, 10**6), st.integers(1, 5))
def test_any_visible_difference_can_be_said(name, seed, changes):
    rng = Random(seed)
    source = replace(sample(GROUPS_BY_NAME[name], rng), views=VIEW_NAMES)
    target = vary(source, rng, changes)
    found = compare(source, target)
    if 1 <= len(found) <= 5:
        text = write_modification(source, target)
        assert text == write_modification(source, target)
        assert 16 <= len(text.short.split()) <= 32
        assert 64 <= len(text.long.split()) <= 128
        assert text.views_involved == views_involved(found)
        assert all(_named(text.short, change) and _named(text.long, change) for change in found)


def test_left_and_right_are_the_wearers():
    source = sample(GROUPS_BY_NAME["women-tees_tanks"], Random(0))
    source = replace(source, values={**source.values, "chest": "left pocket", "back": "bow"}, views=("front", "back"))
    target = replace(source, values={**source.values, "chest": "right pocket", "back": "yoke"})
    for seed in range(20):
        text = write_modification(replace(source, seed=seed), target)
        assert "wearer's right" in text.long
        assert "wearer's left" in text.long
        assert "right" in text.short
