"""What a drawn garment is: groups, attributes, where each shows, and the sheet that holds its truth.

A garment belongs to a group of the paper's catalogues (women's dresses, men's denim, ...). A group has a
plan (top, pants, skirt, dress, jumpsuit) that fixes its attributes, and may narrow their values. Left and
right are always the wearer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VIEW_NAMES = ("front", "side", "back", "detail", "full")
"""Order of the views in files: side shows the wearer's left, detail is a close-up, full a worn outfit."""

COLORS: Mapping[str, str] = {
    "black": "#1d1d20",
    "white": "#f4f3ef",
    "grey": "#8d9096",
    "navy": "#1f2d50",
    "royal blue": "#2450b8",
    "sky blue": "#8fbfe6",
    "teal": "#14777a",
    "green": "#2f7d43",
    "olive": "#6b6a35",
    "yellow": "#edc53f",
    "orange": "#e07b2d",
    "red": "#c4262e",
    "burgundy": "#6d1a30",
    "pink": "#eba5b8",
    "purple": "#6b4596",
    "brown": "#70472c",
    "beige": "#d9c4a0",
}

NONE = "none"
"""The value of an attribute that a garment could have and lacks."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One property of a garment: its values, and the views on which it can be seen."""

    name: str
    values: tuple[str, ...]
    views: frozenset[str]

    def __post_init__(self) -> None:
        unknown = self.views - set(VIEW_NAMES)
        assert not unknown, f"{self.name}: {unknown}"


def _attribute(name: str, values: str, views: str) -> Attribute:
    return Attribute(name, tuple(value.strip() for value in values.split(",")), frozenset(views.split()))


_ALL = "front side back detail full"
_OUTSIDE = "front side back full"
_FACE = "front full"

_COMMON = (
    _attribute("color", ",".join(COLORS), _ALL),
    _attribute(
        "pattern",
        "solid, horizontal stripes, vertical stripes, plaid, polka dots, floral, zigzag, leopard, tie-dye",
        _ALL,
    ),
    _attribute("accent", ",".join(COLORS), _ALL),
    _attribute("fabric", "smooth cotton, ribbed knit, denim, satin, fleece, linen, corduroy", _ALL),
    _attribute("stitching", "tonal, white, gold", "detail"),
    _attribute("hardware", "black, silver, brass, wooden", "detail"),
)
_FIT = _attribute("fit", "slim, regular, relaxed", _OUTSIDE)
_NECKLINE = _attribute(
    "neckline", "crew, v-neck, scoop, square, boat, mock, point collar, mandarin collar, notched lapel, hood", _FACE
)
_SLEEVES = _attribute("sleeves", "sleeveless, short, elbow, long", _OUTSIDE)
_CUFFS = _attribute("cuffs", "plain, ribbed, rolled, contrast, ruffled", "front side back full")
_ARMBAND = _attribute("armband", "none, left sleeve, right sleeve", _OUTSIDE)
_CLOSURE = _attribute("closure", "none, full buttons, half placket, zipper, double-breasted, tie front", _FACE)
_CHEST = _attribute(
    "chest",
    "none, left pocket, right pocket, two pockets, left emblem, right emblem, star print, heart print, circle print",
    _FACE,
)
_BACK = _attribute(
    "back",
    "plain, yoke, keyhole, criss-cross straps, zipper, button row, bow, star print, circle print, center vent",
    "back",
)
_TOP_HEM = _attribute("hem", "straight, curved, ribbed, ruffled, slanted left, slanted right", _OUTSIDE)
_TOP_LENGTH = _attribute("length", "cropped, hip, longline", _OUTSIDE)
_SIDE = _attribute("side", "plain, slit, stripe, zipper, lacing, snap buttons", "side")
_WAIST = _attribute("waist", "flat band, elastic, drawstring, belt, paperbag", _FACE)
_FRONT_POCKETS = _attribute("front pockets", "none, slash, patch, zip", _FACE)
_BACK_POCKETS = _attribute("back pockets", "none, two patch, two flap, two welt, left patch, right patch", "back")
_BACK_WAIST = _attribute("back waist", "plain, v yoke, gathered, tie, buckle tab", "back")
_LEG = _attribute("leg", "skinny, straight, tapered, wide, flared", _OUTSIDE)
_PANTS_LENGTH = _attribute("length", "cropped, ankle, full", _OUTSIDE)
_KNEES = _attribute("knees", "plain, left rip, right rip, both ripped, panels", _FACE)
_PANTS_HEM = _attribute("hem", "plain, cuffed, frayed, elastic", _OUTSIDE)
_PANTS_SIDE = _attribute("side", "plain, stripe, cargo pocket, zipper, snap buttons", "side")
_SKIRT = _attribute("skirt", "pencil, a-line, pleated, tiered", _OUTSIDE)
_SKIRT_LENGTH = _attribute("length", "mini, midi, maxi", _OUTSIDE)
_SLIT = _attribute("slit", "none, left, right, center", _FACE)
_SKIRT_HEM = _attribute("hem", "straight, ruffled, lace, slanted left, slanted right", _OUTSIDE)
_SKIRT_BACK = _attribute("back", "plain, zipper, bow, button row, center vent, two pockets", "back")

PLANS: Mapping[str, tuple[Attribute, ...]] = {
    "top": (
        *_COMMON, _FIT, _NECKLINE, _SLEEVES, _CUFFS, _ARMBAND, _CLOSURE, _CHEST, _BACK, _TOP_HEM, _TOP_LENGTH, _SIDE,
    ),
    "pants": (
        *_COMMON, _WAIST, _FRONT_POCKETS, _BACK_POCKETS, _BACK_WAIST, _LEG, _PANTS_LENGTH, _KNEES, _PANTS_HEM,
        _PANTS_SIDE,
    ),
    "skirt": (*_COMMON, _WAIST, _FRONT_POCKETS, _SKIRT, _SKIRT_LENGTH, _SLIT, _SKIRT_HEM, _SKIRT_BACK, _SIDE),
    "dress": (
        *_COMMON, _FIT, _NECKLINE, _SLEEVES, _CUFFS, _CLOSURE, _CHEST, _BACK, _SKIRT, _SKIRT_LENGTH, _SKIRT_HEM, _SLIT,
        _SIDE,
    ),
    "jumpsuit": (
        *_COMMON, _NECKLINE, _SLEEVES, _CUFFS, _CLOSURE, _CHEST, _BACK, _WAIST, _LEG, _PANTS_LENGTH, _PANTS_HEM,
        _PANTS_SIDE,
    ),
}  # fmt: skip
"""Attributes by plan."""


@dataclass(frozen=True, slots=True)
class Group:
    """A category for women or men, as in the paper's galleries; `only` narrows the values of attributes."""

    gender: str
    category: str
    noun: str
    plan: str
    only: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """Unique name, used in product ids: women-dresses."""
        return f"{self.gender}-{self.category}"


def _group(gender: str, category: str, noun: str, plan: str, **only: str) -> Group:
    narrowed = {name.replace("_", " "): tuple(v.strip() for v in values.split(",")) for name, values in only.items()}
    return Group(gender, category, noun, plan, narrowed)


_KNIT = "smooth cotton, ribbed knit, linen"
_WOVEN = "smooth cotton, satin, linen, denim"
_WOMEN_BACK = "plain, yoke, keyhole, criss-cross straps, zipper, button row, bow"
_TEE = {
    "neckline": "crew, v-neck, scoop, square, boat, mock",
    "sleeves": "sleeveless, short, elbow",
    "closure": "none, half placket",
    "fabric": _KNIT,
    "cuffs": "plain, ribbed, rolled, contrast",
}
_SHIRT = {
    "neckline": "point collar, mandarin collar, v-neck",
    "closure": "full buttons, half placket, zipper",
    "fabric": _WOVEN,
    "cuffs": "plain, rolled, contrast",
}
_SWEATER = {
    "neckline": "crew, v-neck, boat, mock",
    "sleeves": "elbow, long",
    "closure": "none",
    "fabric": "ribbed knit, fleece, smooth cotton",
    "hem": "straight, ribbed, curved",
    "cuffs": "plain, ribbed, contrast",
}
_HOODIE = {
    "neckline": "hood, crew, mock",
    "sleeves": "short, long",
    "closure": "none, zipper, half placket",
    "fabric": "fleece, smooth cotton",
    "hem": "straight, ribbed",
    "cuffs": "plain, ribbed, contrast",
}
_JACKET = {
    "neckline": "point collar, mandarin collar, notched lapel, hood",
    "sleeves": "sleeveless, long",
    "closure": "full buttons, zipper, double-breasted, tie front",
    "fabric": "denim, fleece, corduroy, smooth cotton, satin",
    "chest": "none, left pocket, right pocket, two pockets, left emblem, right emblem",
    "cuffs": "plain, ribbed, rolled, contrast",
}
_DENIM = {"fabric": "denim", "pattern": "solid", "color": "black, white, grey, navy, royal blue, sky blue, brown"}
_MEN_BACK = "plain, yoke, star print, circle print, center vent"

GROUPS: tuple[Group, ...] = (
    _group("women", "tees_tanks", "tee", "top", **_TEE, back=_WOMEN_BACK),
    _group("women", "blouses_shirts", "blouse", "top", **_SHIRT | {"cuffs": "plain, rolled, contrast, ruffled"},
           back=_WOMEN_BACK),
    _group("women", "sweaters", "sweater", "top", **_SWEATER, back=_WOMEN_BACK),
    _group("women", "sweatshirts_hoodies", "sweatshirt", "top", **_HOODIE,
           back="plain, yoke, keyhole, star print, circle print, bow"),
    _group("women", "jackets_coats", "jacket", "top", **_JACKET, back="plain, yoke, bow, center vent, star print",
           length="cropped, hip, longline"),
    _group("women", "dresses", "dress", "dress", back=_WOMEN_BACK, fabric="smooth cotton, satin, linen, ribbed knit",
           neckline="crew, v-neck, scoop, square, boat, mock, point collar, mandarin collar",
           closure="none, full buttons, half placket, zipper", chest="none, left pocket, right pocket, two pockets"),
    _group("women", "rompers_jumpsuits", "jumpsuit", "jumpsuit", back=_WOMEN_BACK, fabric=_WOVEN,
           neckline="crew, v-neck, scoop, square, boat, point collar",
           closure="none, full buttons, half placket, zipper", chest="none, left pocket, right pocket, two pockets"),
    _group("women", "skirts", "skirt", "skirt", fabric="smooth cotton, satin, linen, denim, corduroy"),
    _group("women", "pants", "trousers", "pants", fabric="smooth cotton, satin, linen, corduroy",
           knees="plain, panels"),
    _group("women", "denim", "jeans", "pants", **_DENIM, waist="flat band, belt, paperbag"),
    _group("women", "shorts", "shorts", "pants", fabric="smooth cotton, linen, denim, satin", knees="plain",
           length="micro, mid-thigh, knee", leg="straight, wide, flared"),
    _group("men", "tees_tanks", "tee", "top", **_TEE | {"neckline": "crew, v-neck, scoop, mock"}, back=_MEN_BACK,
           hem="straight, curved, ribbed, slanted left, slanted right"),
    _group("men", "shirts_polos", "shirt", "top", **_SHIRT, back=_MEN_BACK, hem="straight, curved, ribbed",
           sleeves="short, elbow, long"),
    _group("men", "sweaters", "sweater", "top", **_SWEATER, back=_MEN_BACK),
    _group("men", "sweatshirts_hoodies", "hoodie", "top", **_HOODIE, back=_MEN_BACK),
    _group("men", "jackets_vests", "jacket", "top", **_JACKET, back=_MEN_BACK, hem="straight, curved, ribbed"),
    _group("men", "pants", "trousers", "pants", fabric="smooth cotton, linen, corduroy, fleece",
           waist="flat band, elastic, drawstring, belt", leg="skinny, straight, tapered, wide", knees="plain, panels"),
    _group("men", "denim", "jeans", "pants", **_DENIM, waist="flat band, belt",
           leg="skinny, straight, tapered, wide"),
    _group("men", "shorts", "shorts", "pants", fabric="smooth cotton, linen, denim, fleece", knees="plain",
           length="micro, mid-thigh, knee", leg="straight, wide", waist="flat band, elastic, drawstring, belt"),
)  # fmt: skip
"""The garment groups: eleven for women, eight for men."""

GROUPS_BY_NAME: Mapping[str, Group] = {group.name: group for group in GROUPS}


@dataclass(frozen=True, slots=True)
class Garment:
    """The sheet of one garment: what is true of it, which views it has, and the seed of its jitter."""

    group: Group
    values: Mapping[str, str]
    views: tuple[str, ...]
    seed: int

    def __getitem__(self, attribute: str) -> str:
        return self.values[attribute]


def attributes(group: Group) -> tuple[Attribute, ...]:
    """The attributes of a group with the values it allows, in drawing order."""
    return tuple(
        Attribute(attribute.name, group.only.get(attribute.name, attribute.values), attribute.views)
        for attribute in PLANS[group.plan]
    )


def applies(attribute: str, values: Mapping[str, str]) -> bool:
    """Whether an attribute means anything beside the other values: no cuffs without sleeves, no accent without use."""
    if attribute in ("cuffs", "armband"):
        return values["sleeves"] != "sleeveless"
    if attribute == "accent":
        return values["pattern"] != "solid"
    return True


def visible(garment: Garment) -> dict[str, str]:
    """The values that apply and show on at least one of the garment's views, in drawing order."""
    shown = set(garment.views)
    return {
        attribute.name: garment.values[attribute.name]
        for attribute in PLANS[garment.group.plan]
        if attribute.views & shown and applies(attribute.name, garment.values)
    }
