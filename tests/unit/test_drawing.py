"""Drawn garments show what their sheets say, where they say it, and nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest

from procir.catalog.atelier.drawing import draw
from procir.catalog.atelier.garments import (
    GROUPS,
    GROUPS_BY_NAME,
    VIEW_NAMES,
    Attribute,
    Garment,
    Group,
    applies,
    attributes,
)
from procir.errors import ConfigError

SIZE = 128
VISIBLE = 20
"""A pixel whose strongest channel changes by more than this has visibly changed."""


def sample(group: Group, seed: int, **fixed: str) -> Garment:
    rng = random.Random(f"{group.name}/{seed}")
    values = {attribute.name: rng.choice(attribute.values) for attribute in attributes(group)}
    values |= {name.replace("_", " "): value for name, value in fixed.items()}
    return Garment(group, values, VIEW_NAMES, seed)


def altered(garment: Garment, attribute: str, value: str) -> Garment:
    return Garment(garment.group, {**garment.values, attribute: value}, garment.views, garment.seed)


def pixels(garment: Garment, view: str, size: int = SIZE) -> np.ndarray:
    return np.asarray(draw(garment, view, size)).astype(int)


def changes(first: Garment, second: Garment, view: str) -> np.ndarray:
    return np.abs(pixels(first, view) - pixels(second, view)).max(axis=2)


def centroid(change: np.ndarray) -> float:
    """Horizontal middle of what changed visibly, in shares of the width."""
    _, columns = np.nonzero(change > VISIBLE)
    return float(columns.mean()) / change.shape[1]


def plain(name: str, **fixed: str) -> Garment:
    calm = {"pattern": "solid", "fabric": "smooth cotton", "color": "sky blue", "accent": "red"}
    return sample(GROUPS_BY_NAME[name], 7, **(calm | fixed))


@pytest.mark.parametrize("view", VIEW_NAMES)
def test_same_garment_gives_same_pixels(view: str) -> None:
    first = draw(sample(GROUPS_BY_NAME["women-dresses"], 3), view)
    draw(sample(GROUPS_BY_NAME["women-skirts"], 4), view)
    assert first.tobytes() == draw(sample(GROUPS_BY_NAME["women-dresses"], 3), view).tobytes()


def test_seeds_and_views_vary_the_picture() -> None:
    garment = plain("women-sweaters")
    other = Garment(garment.group, garment.values, garment.views, 8)
    drawn = [draw(g, view).tobytes() for g in (garment, other) for view in VIEW_NAMES]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("size", [32, 100, 256, 300, 1024])
def test_picture_has_the_size_asked_for(size: int) -> None:
    picture = draw(plain("men-shorts"), "front", size)
    assert picture.size == (size, size)
    assert picture.mode == "RGB"


@pytest.mark.parametrize(("view", "size"), [("top", 256), ("", 256), ("front", 31), ("front", 1025), ("front", 0)])
def test_unknown_view_or_size_is_refused(view: str, size: int) -> None:
    with pytest.raises(ConfigError, match="view"):
        draw(plain("men-shorts"), view, size)


def cases() -> list[tuple[Group, Attribute]]:
    """Every attribute of every plan; where many groups share a plan, each group takes its share."""
    chosen = []
    for number, group in enumerate(GROUPS):
        step = 7 if group.plan in ("top", "pants") else 1
        chosen += [(group, attribute) for attribute in attributes(group)[number % step :: step]]
    return [(group, attribute) for group, attribute in chosen if len(attribute.values) > 1]


def start_of(group: Group, attribute: Attribute) -> Garment | None:
    """A garment on which the attribute means something, or None where the group has no such garment."""
    for seed in range(12):
        garment = sample(group, seed, color="sky blue")
        if applies(attribute.name, garment.values):
            return garment
    return None


@pytest.mark.parametrize(("group", "attribute"), cases(), ids=lambda item: item.name.replace(" ", "_"))
def test_value_shows_on_its_views_and_on_no_other(group: Group, attribute: Attribute) -> None:
    """Two values of each attribute, drawn by chance; the whole table is too long for a fast test."""
    garment = start_of(group, attribute)
    if garment is None:
        pytest.skip("this group never uses the attribute")
    one, two = random.Random(f"{group.name}{attribute.name}").sample(attribute.values, 2)
    first, second = altered(garment, attribute.name, one), altered(garment, attribute.name, two)
    rng = random.Random(attribute.name + group.name)
    shown = rng.choice(sorted(attribute.views))
    assert (changes(first, second, shown) > VISIBLE).sum() >= 6, (one, two, shown)
    hidden = rng.choice([*sorted(set(VIEW_NAMES) - attribute.views), shown])
    if hidden != shown:
        assert draw(first, hidden).tobytes() == draw(second, hidden).tobytes(), (one, two, hidden)


@pytest.mark.parametrize("view", VIEW_NAMES)
def test_what_does_not_apply_does_not_show(view: str) -> None:
    bare = plain("women-tees_tanks", sleeves="sleeveless", cuffs="plain", armband="none")
    for attribute, value in (("cuffs", "contrast"), ("armband", "left sleeve"), ("accent", "yellow")):
        assert draw(bare, view, SIZE).tobytes() == draw(altered(bare, attribute, value), view, SIZE).tobytes()


SIDED = [
    ("women-tees_tanks", "chest", "none", "left pocket", "right pocket", "front"),
    ("men-jackets_vests", "chest", "none", "left emblem", "right emblem", "full"),
    ("men-sweaters", "armband", "none", "left sleeve", "right sleeve", "front"),
    ("men-denim", "knees", "plain", "left rip", "right rip", "front"),
    ("women-skirts", "slit", "none", "left", "right", "full"),
]


@pytest.mark.parametrize(("name", "attribute", "none", "left", "right", "view"), SIDED)
def test_wearers_left_is_right_in_the_image(
    name: str, attribute: str, none: str, left: str, right: str, view: str
) -> None:
    bare = plain(name, **{attribute: none}, sleeves="long", closure="zipper", neckline="mandarin collar")
    assert centroid(changes(bare, altered(bare, attribute, left), view)) > 0.53
    assert centroid(changes(bare, altered(bare, attribute, right), view)) < 0.47


def test_wearers_left_is_left_in_the_image_from_the_back() -> None:
    bare = plain("women-denim", **{"back pockets": "none"})
    assert centroid(changes(bare, altered(bare, "back pockets", "left patch"), "back")) < 0.47
    assert centroid(changes(bare, altered(bare, "back pockets", "right patch"), "back")) > 0.53
    sleeved = plain("men-sweaters", armband="none", sleeves="long")
    assert centroid(changes(sleeved, altered(sleeved, "armband", "left sleeve"), "back")) < 0.47


def lowest(garment: Garment, view: str, columns: slice) -> int:
    """The lowest row in which a garment of saturated colour shows inside some columns."""
    image = pixels(garment, view)[:, columns]
    return int(np.nonzero(image.max(axis=2) - image.min(axis=2) > 70)[0].max())


@pytest.mark.parametrize("name", ["women-skirts", "women-dresses", "men-tees_tanks"])
def test_slanted_hems_mirror_between_front_and_back(name: str) -> None:
    left_half, right_half = slice(46, 60), slice(68, 82)
    garment = plain(
        name, hem="slanted left", color="royal blue", slit="none", skirt="a-line", back="plain", cuffs="plain"
    )
    assert lowest(garment, "front", right_half) > lowest(garment, "front", left_half)
    assert lowest(garment, "back", left_half) > lowest(garment, "back", right_half)
    mirrored = altered(garment, "hem", "slanted right")
    assert lowest(mirrored, "front", left_half) > lowest(mirrored, "front", right_half)


def slenderness(garment: Garment) -> float:
    """Height over width at the hem of a garment of saturated colour, seen from the front."""
    image = pixels(garment, "front")
    seen = image.max(axis=2) - image.min(axis=2) > 70
    rows = np.nonzero(seen[:, 60:68].any(axis=1))[0]
    return float(rows.max() - rows.min()) / float(seen[rows.max() - 5].sum())


def test_longer_garments_are_more_slender() -> None:
    shapes = [
        slenderness(plain("women-tees_tanks", length=length, color="red", hem="straight", sleeves="short"))
        for length in ("cropped", "hip", "longline")
    ]
    assert shapes == sorted(shapes)
    assert shapes[2] > 1.3 * shapes[0]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_garments_stay_inside_the_picture(group: Group) -> None:
    garment = sample(group, 1, color="red", pattern="solid", fabric="smooth cotton")
    for view in ("front", "side", "back"):
        image = pixels(garment, view, 64)
        saturation = image.max(axis=2) - image.min(axis=2)
        border = np.concatenate([saturation[0], saturation[-1], saturation[:, 0], saturation[:, -1]])
        assert border.max() < 70, view


def test_a_hood_leaves_no_trace_on_the_other_views() -> None:
    hooded = plain("men-sweatshirts_hoodies", neckline="hood")
    collared = altered(hooded, "neckline", "crew")
    for view in ("side", "back", "detail"):
        assert draw(hooded, view).tobytes() == draw(collared, view).tobytes(), view


@pytest.mark.parametrize("color", ["white", "black", "red", "green", "purple"])
def test_colour_is_seen_in_the_middle_of_the_close_up(color: str) -> None:
    expected = {"white": (244, 243, 239), "black": (29, 29, 32), "red": (196, 38, 46), "green": (47, 125, 67)}
    garment = plain("women-tees_tanks", color=color, stitching="tonal")
    median = np.median(pixels(garment, "detail").reshape(-1, 3), axis=0)
    assert np.abs(median - expected.get(color, (107, 69, 150))).max() < 30
