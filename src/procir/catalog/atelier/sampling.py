"""Random garments: single designs, variations of a design, and seasons of design families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from random import Random

from procir.catalog.atelier.comparison import NEUTRAL, columns, compare
from procir.catalog.atelier.garments import (
    COLORS,
    GROUPS,
    Attribute,
    Garment,
    Group,
    applies,
)

VIEW_SETS: Mapping[tuple[str, ...], float] = {
    ("front", "back"): 0.23,
    ("front", "side"): 0.02,
    ("front", "side", "back"): 0.40,
    ("front", "side", "back", "detail"): 0.25,
    ("front", "side", "back", "detail", "full"): 0.10,
}
"""Which views products have, and how often; close to the mix of figure 4."""

# All of these are chosen so that neither the source nor the text alone finds the target; see Season, pairs.RIVALS.
_NEUTRAL_SHARE = 0.4
_SOLID_SHARE = 0.45
_POPULAR = {"black": 2.0, "white": 2.0, "navy": 1.8, "grey": 1.5, "beige": 1.3, "sky blue": 1.2}
# Least distance, in weighted RGB units, at which a pattern stands out from its ground.
_CONTRAST = 170.0
# How many attributes of each kind a family varies, drawn from these, and how many values each then takes.
_AXES: Mapping[str, tuple[int, ...]] = {"front": (2,), "back": (1, 1, 2), "side": (0, 1), "detail": (0,) * 7 + (1,)}
_VALUES: Mapping[tuple[str, int], int] = {("front", 1): 6, ("front", 2): 3, ("back", 1): 6, ("back", 2): 3}
_FEW = 2
# Share of families that come in several colors; two colors then take the place of a front attribute.
_COLORED = 0.5
# Powers that bring an attribute to the front of a season (above 1), and how much families deviate from the season.
_FASHION = {"pattern": 2.0, "chest": 2.0, "closure": 1.5, "fabric": 0.6}
_WHIM = 0.5
# Share of other attributes that follow the season, and those that never do.
_TREND = 0.5
_FREE = ("color", "pattern", "accent")
_ATTEMPTS = 60
_SEED_BITS = 31


def generator(*names: object) -> Random:
    """A random stream that depends on the names alone, the same in every process and Python version."""
    return Random(":".join(str(name) for name in names))


def contrasts(first: str, second: str) -> bool:
    """Whether a pattern in one color can be told from a ground in the other (weighted distance in RGB)."""
    red_1, green_1, blue_1 = _rgb(first)
    red_2, green_2, blue_2 = _rgb(second)
    mean = (red_1 + red_2) / 2
    weighted = (
        (2 + mean / 256) * (red_1 - red_2) ** 2
        + 4 * (green_1 - green_2) ** 2
        + (2 + (255 - mean) / 256) * (blue_1 - blue_2) ** 2
    )
    return bool(weighted > _CONTRAST**2)


def _rgb(color: str) -> tuple[int, int, int]:
    code = COLORS[color]
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def _weights(attribute: Attribute) -> list[float]:
    others = max(1, len(attribute.values) - 1)
    special = dict(_POPULAR) if attribute.name in ("color", "accent") else {}
    special |= dict.fromkeys(NEUTRAL, others * _NEUTRAL_SHARE / (1 - _NEUTRAL_SHARE))
    if attribute.name == "pattern":
        special["solid"] = others * _SOLID_SHARE / (1 - _SOLID_SHARE)
    return [special.get(value, 1.0) for value in attribute.values]


def sample_views(rng: Random) -> tuple[str, ...]:
    """A set of views by the shares of `VIEW_SETS`."""
    return rng.choices(list(VIEW_SETS), list(VIEW_SETS.values()))[0]


def sample(group: Group, rng: Random) -> Garment:
    """One plausible garment of a group."""
    values = {attribute.name: rng.choices(attribute.values, _weights(attribute))[0] for attribute in columns(group)}
    garment = Garment(group, values, sample_views(rng), rng.getrandbits(_SEED_BITS))
    return with_contrast(garment, rng)


def with_contrast(garment: Garment, rng: Random) -> Garment:
    """The garment, with another accent if its own could not be told from its color."""
    color = garment["color"]
    if contrasts(color, garment["accent"]):
        return garment
    allowed = next(attribute.values for attribute in columns(garment.group) if attribute.name == "accent")
    fitting = [accent for accent in allowed if contrasts(color, accent)]
    return replace(garment, values={**garment.values, "accent": rng.choice(fitting)})


@dataclass(frozen=True, slots=True)
class Season:
    """What is in fashion: all values of every attribute, the most fashionable first.

    Families of one season vary in the same few values, so that many garments answer any part of a request.
    """

    order: Mapping[str, tuple[str, ...]]
    rank: Mapping[str, float]

    def trends(self, attribute: Attribute, count: int) -> tuple[str, ...]:
        """The most fashionable values that the attribute allows."""
        return tuple(value for value in self.order[attribute.name] if value in attribute.values)[:count]


def _spread() -> dict[tuple[str, str], float]:
    counts: dict[tuple[str, str], int] = {}
    for group in GROUPS:
        for attribute in columns(group):
            for value in attribute.values:
                counts[attribute.name, value] = counts.get((attribute.name, value), 0) + 1
    most = {name: max(n for (other, _), n in counts.items() if other == name) for name, _ in counts}
    return {(name, value): (count / most[name]) ** 2 for (name, value), count in counts.items()}


_SPREAD = _spread()


def draw_season(rng: Random) -> Season:
    """A season from weighted orders of the values of every attribute name, over all plans."""
    merged: dict[str, list[str]] = {}
    for name, value in _SPREAD:
        merged.setdefault(name, []).append(value)
    order = {name: _shuffled(Attribute(name, tuple(values), frozenset()), rng) for name, values in merged.items()}
    return Season(order, {name: rng.random() ** _FASHION.get(name, 1.0) for name in sorted(merged)})


def _shuffled(attribute: Attribute, rng: Random) -> tuple[str, ...]:
    keys = {
        value: rng.random() ** (1 / (weight * _SPREAD[attribute.name, value]))
        for value, weight in zip(attribute.values, _weights(attribute), strict=True)
    }
    return tuple(sorted(attribute.values, key=lambda value: (value != "solid", -keys[value])))


class Rack:
    """The designs made so far; it takes no two that look alike on the views that both have."""

    def __init__(self) -> None:
        self._by_face: dict[tuple[str, ...], list[Garment]] = {}

    def add(self, garment: Garment) -> bool:
        """Keep the garment unless one that cannot be told from it is there already."""
        face = tuple(
            garment[attribute.name]
            for attribute in columns(garment.group)
            if "front" in attribute.views and applies(attribute.name, garment.values)
        )
        alike = self._by_face.setdefault((garment.group.name, *face), [])
        if any(not compare(other, garment) for other in alike):
            return False
        alike.append(garment)
        return True


def design_family(group: Group, season: Season, size: int, rng: Random, rack: Rack) -> list[Garment]:
    """Up to `size` garments of one base design, each new on the rack; at least one.

    Siblings combine a few faces with a few backs. So every face is shared by many of them and so is every back:
    no single view tells a garment from all others of its family.
    """
    for _ in range(_ATTEMPTS):
        palette = draw_palette(group, season, rng)
        base = _fashionable(sample(group, rng), season, palette, rng)
        cells = [dict(zip(palette, values, strict=True)) for values in product(*palette.values())]
        rng.shuffle(cells)
        siblings = (_sibling(base, cell, rng) for cell in cells)
        family = list(islice((garment for garment in siblings if rack.add(garment)), size))
        if family:
            return family
    raise AssertionError(f"{group.name}: no new design in {_ATTEMPTS} attempts")


def _sibling(base: Garment, cell: Mapping[str, str], rng: Random) -> Garment:
    values = {**base.values, **cell}
    garment = Garment(base.group, values, sample_views(rng), rng.getrandbits(_SEED_BITS))
    return with_contrast(garment, rng)


def _fashionable(garment: Garment, season: Season, palette: Mapping[str, tuple[str, ...]], rng: Random) -> Garment:
    values = dict(garment.values)
    for attribute in columns(garment.group):
        if attribute.name in palette:
            values[attribute.name] = palette[attribute.name][0]
        elif attribute.name not in _FREE and rng.random() < _TREND:
            values[attribute.name] = rng.choice(season.trends(attribute, _breadth(attribute)))
    return with_contrast(replace(garment, values=values), rng)


def draw_palette(group: Group, season: Season, rng: Random) -> dict[str, tuple[str, ...]]:
    """The attributes in which a family varies, with their values: of the face, the back, sometimes side or detail."""
    kinds: dict[str, list[Attribute]] = {kind: [] for kind in (*_AXES, "color", "overall")}
    for attribute in columns(group):
        if len(attribute.values) > 1 and attribute.name != "accent":
            kinds[_kind(attribute)].append(attribute)
    chosen = {kind: _chosen(kinds[kind], rng.choice(counts), season, rng) for kind, counts in _AXES.items()}
    if kinds["color"] and rng.random() < _COLORED:
        chosen["front"] = [*chosen["front"][:1], *kinds["color"]]
    palette = {}
    for kind, attributes in chosen.items():
        for number, attribute in enumerate(attributes):
            most = _FEW if number else _VALUES.get((kind, len(attributes)), _FEW)
            trends = season.trends(attribute, max(most, _breadth(attribute)))
            palette[attribute.name] = tuple(rng.sample(trends, min(most, len(trends))))
    return palette


def _chosen(attributes: Sequence[Attribute], count: int, season: Season, rng: Random) -> list[Attribute]:
    """The most fashionable attributes, those with the most values first."""
    ranked = sorted(attributes, key=lambda attribute: season.rank[attribute.name] + _WHIM * rng.random())
    return sorted(ranked[:count], key=lambda attribute: -len(attribute.values))


def _breadth(attribute: Attribute) -> int:
    return 2 + len(attribute.values) // 4


def _kind(attribute: Attribute) -> str:
    if attribute.name == "color":
        return "color"
    if "front" in attribute.views:
        return "overall" if "back" in attribute.views else "front"
    return next(view for view in ("back", "side", "detail") if view in attribute.views)
