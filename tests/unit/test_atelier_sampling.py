"""Random garments: plausible, varied, and the same everywhere."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procir.catalog.atelier.comparison import Change, compare, kept, views_involved
from procir.catalog.atelier.garments import COLORS, GROUPS, GROUPS_BY_NAME, VIEW_NAMES, attributes
from procir.catalog.atelier.sampling import (
    VIEW_SETS,
    Rack,
    contrasts,
    design_family,
    draw_season,
    generator,
    sample,
)

seeds = st.integers(0, 10**6)
names = st.sampled_from(sorted(GROUPS_BY_NAME))
few = settings(derandomize=True, deadline=None, max_examples=40)


@few
@given(names, seeds)
def test_garments_keep_to_their_group(name, seed):
    group = GROUPS_BY_NAME[name]
    garment = sample(group, Random(seed))
    assert {a.name for a in attributes(group)} == set(garment.values)
    assert all(garment[a.name] in a.values for a in attributes(group))
    assert contrasts(garment["color"], garment["accent"])
    assert garment.views[0] == "front"
    assert list(garment.views) == [view for view in VIEW_NAMES if view in garment.views]


def test_every_color_has_partners_and_none_is_its_own():
    for color in COLORS:
        assert sum(contrasts(color, other) for other in COLORS) >= 5
        assert not contrasts(color, color)
    assert not contrasts("black", "navy")
    assert contrasts("black", "white")


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_families_combine_faces_and_backs(group):
    """Every face comes with several backs and every back with several faces, so that no view tells all."""
    rng = generator("family", group.name)
    rack, season = Rack(), draw_season(rng)
    families = [design_family(group, season, 36, rng, rack) for _ in range(8)]
    for family in families[:2]:
        assert 6 <= len(family) <= 36
        assert all(garment.group == group for garment in family)
        assert all(compare(a, b) or compare(b, a) for i, a in enumerate(family) for b in family[:i])
        assert not any(rack.add(replace(garment, seed=1)) for garment in family)
    for face, hidden in (("front", "back"), ("back", "front")):
        shared = [Counter(_shown(g, face) for g in family if hidden in g.views) for family in families]
        assert max(counts.total() / len(counts) for counts in shared) >= 3


def _shown(garment, view):
    return tuple(garment[a.name] for a in attributes(garment.group) if view in a.views)


def test_shares_of_views_and_solids():
    rng = generator("shares")
    garments = [sample(group, rng) for group in GROUPS for _ in range(60)]
    views = Counter(garment.views for garment in garments)
    for views_, share in VIEW_SETS.items():
        assert abs(views[views_] / len(garments) - share) < 0.05
    patterned = [garment for garment in garments if garment.group.category != "denim"]
    solid = sum(garment["pattern"] == "solid" for garment in patterned) / len(patterned)
    assert 0.38 < solid < 0.52
    plain = [garment["back"] == "plain" for garment in garments if "back" in garment.values]
    assert 0.3 < sum(plain) / len(plain) < 0.5


def test_the_stream_of_a_name_is_the_same_everywhere():
    drawn = repr([sorted(sample(group, generator("stable", 7)).values.items()) for group in GROUPS])
    assert hashlib.sha256(drawn.encode()).hexdigest() == STABLE


STABLE = "b4a07a6459c3f503b6400ca54cef288bf2bf8859cef77536d94844f98a5a5394"


def _tee(views="front side back", **values):
    sheet_ = {a.name: a.values[0] for a in attributes(GROUPS_BY_NAME["women-tees_tanks"])}
    garment = sample(GROUPS_BY_NAME["women-tees_tanks"], Random(0))
    base = {"accent": "white", "sleeves": "short", "cuffs": "plain"}
    return replace(garment, values={**sheet_, **base, **values}, views=tuple(views.split()))


def test_compare_names_what_both_show():
    source = _tee(back="bow", side="slit")
    target = _tee("front back", back="yoke", side="lacing", neckline="boat", color="navy", stitching="gold")
    assert compare(source, target) == (
        Change("color", "black", "navy", ("front", "back")),
        Change("neckline", "crew", "boat", ("front",)),
        Change("back", "bow", "yoke", ("back",)),
    )


def test_compare_tells_what_comes_with_new_parts_only():
    bare = _tee(sleeves="sleeveless", armband="left sleeve")
    sleeved = _tee(sleeves="short", cuffs="rolled", pattern="plaid")
    assert [(c.attribute, c.old, c.new) for c in compare(bare, sleeved)] == [
        ("pattern", "solid", "plaid"),
        ("accent", None, "white"),
        ("sleeves", "sleeveless", "short"),
        ("cuffs", None, "rolled"),
    ]
    assert [c.attribute for c in compare(sleeved, bare)] == ["pattern", "sleeves"]


def test_places_and_views_of_changes():
    source, target = _tee(), _tee(color="red", back="bow", side="slit", neckline="boat")
    changes = compare(source, target)
    assert [change.place for change in changes] == ["overall", "front", "back", "side"]
    assert views_involved(changes) == ("front", "side", "back")
    assert views_involved(changes[:1]) == ("front", "back")
    only_side = compare(_tee("front side"), _tee("front side", color="red"))
    assert views_involved(only_side) == ("front", "side")
    assert views_involved(compare(_tee("front side"), _tee("front back", color="red"))) == ("front",)


def test_kept_and_changed_share_nothing():
    source, target = _tee(back="bow"), _tee(back="bow", color="red")
    assert "color" not in kept(source, target)
    assert kept(source, target)["back"] == "bow"
    assert "accent" not in kept(source, target)


def test_garments_of_two_groups_are_not_compared():
    with pytest.raises(AssertionError):
        compare(_tee(), sample(GROUPS_BY_NAME["men-denim"], Random(0)))


def test_siblings_that_are_not_taken_stay_free():
    """A small family leaves its other siblings to a later one of the same design."""
    group = GROUPS_BY_NAME["women-dresses"]
    season, rack = draw_season(generator("season")), Rack()
    few = design_family(group, season, 2, Random(5), rack)
    rest = design_family(group, season, 36, Random(5), rack)
    assert len(few) == 2
    assert len(rest) > 20
    assert {(g["fabric"], g["sleeves"]) for g in few} == {(g["fabric"], g["sleeves"]) for g in rest}
    assert all(compare(a, b) or compare(b, a) for a in few for b in rest)
