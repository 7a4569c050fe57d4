"""Captions: their lengths, their truth, and their manners."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from random import Random
from statistics import median

import pytest
from atelier_truth import NEUTRAL, names, sheet
from hypothesis import given, settings
from hypothesis import strategies as st

from procir.catalog.atelier.captions import describe, shown_on
from procir.catalog.atelier.garments import GROUPS, GROUPS_BY_NAME, VIEW_NAMES, attributes
from procir.catalog.atelier.lexicon import PHRASES
from procir.catalog.atelier.sampling import generator, sample
from procir.types import ProductKey

KEY = ProductKey("atelier", "x")
_SLIPS = re.compile(
    r"\b(a a|an an|the the|a an|the a|the no)\b|\{|\}|  | ,|\.\.|,\.| \.|\b[Aa] (?!one-)[aeio]|\b[Aa]n [^aeiouAEIOU]"
)


@pytest.fixture(scope="module")
def described():
    """Two hundred and more garments with their captions, from every group."""
    rng = generator("described")
    garments = [sample(group, rng) for group in GROUPS for _ in range(11)]
    return [(garment, describe(KEY, garment)) for garment in garments]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.sampled_from(sorted(GROUPS_BY_NAME)), st.integers(0, 10**6))
def test_lengths(name, seed):
    garment = sample(GROUPS_BY_NAME[name], Random(seed))
    _check_lengths(garment, describe(KEY, garment))


def test_lengths_of_hundreds(described):
    for garment, caption in described:
        _check_lengths(garment, caption)
    middle = median(len(caption.long.split()) for _, caption in described)
    assert 210 <= middle <= 235
    assert 36 <= median(len(caption.short.split()) for _, caption in described) <= 44
    assert 105 <= median(len(text.split()) for _, caption in described for text in caption.images) <= 125


def _check_lengths(garment, caption):
    assert len(caption.images) == len(garment.views)
    assert 200 <= len(caption.long.split()) <= 400
    assert 35 <= len(caption.short.split()) <= 60
    assert all(50 <= len(text.split()) <= 200 for text in caption.images)


def test_plain_garments_reach_the_lengths_too():
    for name, group in GROUPS_BY_NAME.items():
        plain = {a.name: next((v for v in a.values if v in NEUTRAL), a.values[0]) for a in attributes(group)}
        for seed in range(3):
            garment = replace(sample(group, Random(0)), values=plain, views=("front", "back"), seed=seed)
            _check_lengths(garment, describe(KEY, garment))
            assert name


def test_rich_garments_stay_within_the_lengths():
    for group in GROUPS:
        rich = {a.name: max(a.values, key=len) for a in attributes(group)}
        for seed in range(3):
            garment = replace(sample(group, Random(0)), values=rich, views=VIEW_NAMES, seed=seed)
            _check_lengths(garment, describe(KEY, garment))


def test_the_long_caption_tells_all_that_shows_and_nothing_else(described):
    for garment, caption in described:
        shown = sheet(garment)
        for attribute, value in shown.items():
            if value not in NEUTRAL:
                assert names(caption.long, attribute, value), (attribute, value, caption.long)
        said = {phrase for attribute, value in shown.items() for phrase in PHRASES[attribute][value].full}
        for phrase in _false_phrases(garment, shown):
            assert any(phrase in true for true in said) or phrase not in caption.long, (phrase, caption.long)


def _false_phrases(garment, shown):
    for attribute in attributes(garment.group):
        if attribute.name not in ("color", "accent", "pattern", "fabric"):
            for value in set(attribute.values) - {shown.get(attribute.name)}:
                yield from PHRASES[attribute.name][value].full


def test_the_short_caption_tells_all_but_the_finest(described):
    for garment, caption in described:
        for attribute, value in sheet(garment).items():
            if value not in NEUTRAL and attribute not in ("fit", "stitching", "hardware"):
                assert names(caption.short, attribute, value), (attribute, value, caption.short)


def test_image_captions_tell_what_their_view_shows(described):
    for garment, caption in described:
        for number, (view, text) in enumerate(zip(garment.views, caption.images, strict=True), start=1):
            assert text.startswith(f"[Image {number}] ")
            assert f"{view} " in text.split(".")[0].lower()
            for attribute, value in shown_on(view, garment).items():
                assert value in NEUTRAL or names(text, attribute, value), (view, attribute, value, text)
            if view in ("side", "detail"):
                assert "neck" not in text
            if view != "back" and garment.values.get("back") == "bow":
                assert not re.search(r"\bbow\b", text)


def test_texts_are_clean(described):
    for _, caption in described:
        for text in (caption.long, caption.short, *caption.images):
            assert not _SLIPS.search(text), (_SLIPS.search(text), text)
            sentences = re.split(r"(?<=[.?]) ", text)
            assert max(Counter(sentences).values()) == 1
            assert all(part[0].isupper() or part[0] == "[" for part in sentences)
            assert text.endswith(".")
        assert "image" not in caption.long.lower()
        assert "view" not in caption.long.lower()


def test_left_and_right_are_mirrored_in_front_and_kept_behind():
    garment = sample(GROUPS_BY_NAME["women-tees_tanks"], Random(1))
    values = {
        **garment.values,
        "sleeves": "short",
        "armband": "left sleeve",
        "chest": "right pocket",
        "hem": "straight",
    }
    garment = replace(garment, values=values, views=VIEW_NAMES)
    for seed in range(20):
        front, side, back, detail, full = describe(KEY, replace(garment, seed=seed)).images
        for text in (front, full):
            assert _image_side(text, "wearer's left sleeve") == "right"
            assert _image_side(text, "on the wearer's right") == "left"
        assert _image_side(back, "wearer's left sleeve") == "left"
        assert "wearer's left sleeve" in side
        assert "armband" not in detail


def test_the_far_sleeve_is_not_seen_from_the_side():
    garment = sample(GROUPS_BY_NAME["women-tees_tanks"], Random(1))
    garment = replace(
        garment, values={**garment.values, "sleeves": "short", "armband": "right sleeve"}, views=VIEW_NAMES
    )
    assert "armband" not in shown_on("side", garment)
    side = describe(KEY, garment).images[1]
    assert "armband" not in side
    assert "band on" not in side


def test_slanted_hems_reach_lower_where_the_wearer_has_them():
    garment = sample(GROUPS_BY_NAME["women-dresses"], Random(1))
    garment = replace(garment, values={**garment.values, "hem": "slanted left"}, views=("front", "back"))
    for seed in range(8):
        front, back = describe(KEY, replace(garment, seed=seed)).images
        assert re.search(r"hem .*\bright of the image, (which|that) is,? the wearer's left", front)
        assert re.search(r"hem .*\bleft of the image, (which|that) is,? the wearer's left", back)


def _image_side(text, part):
    found = [s for s in text.split(". ") if part in s and "of the image" in s and "view" not in s]
    assert found, (part, text)
    sides = re.findall(r"on the (left|right)(?: side)? of the image", found[0], re.IGNORECASE)
    assert len(sides) == 1, found
    return sides[0]


def test_symmetry_is_claimed_only_where_it_holds():
    rng = generator("symmetry")
    claims = 0
    for _ in range(120):
        garment = sample(rng.choice(GROUPS), rng)
        if "symmetrical" in describe(KEY, garment).long:
            claims += 1
            assert not any(re.search("left|right", value) for value in sheet(garment).values())
    assert claims


def test_the_same_garment_gets_the_same_words_and_another_seed_others():
    garment = sample(GROUPS[0], Random(3))
    assert describe(KEY, garment) == describe(KEY, garment)
    assert describe(KEY, replace(garment, seed=garment.seed + 1)).long != describe(KEY, garment).long
