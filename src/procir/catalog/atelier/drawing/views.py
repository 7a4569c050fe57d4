"""A garment's five views, put together from its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image

from procir.catalog.atelier.drawing import (
    backs,
    closeups,
    fronts,
    mannequins,
    necklines,
    profiles,
    sides,
    skirts,
    studio,
    tops,
    trousers,
    waists,
)
from procir.catalog.atelier.drawing.easel import Easel
from procir.catalog.atelier.drawing.paths import Number
from procir.catalog.atelier.drawing.skirts import Bell
from procir.catalog.atelier.drawing.studio import Frame
from procir.catalog.atelier.garments import VIEW_NAMES, Garment
from procir.errors import ConfigError

MIN_SIZE, MAX_SIZE = 32, 1024
_FINE = 256
"""Smaller pictures are drawn this wide and reduced."""

_WORN: Mapping[str, Frame] = {
    "top": Frame(x=0, y=69, span=136),
    "dress": Frame(x=0, y=101, span=207),
    "jumpsuit": Frame(x=0, y=101, span=207),
    "pants": Frame(x=0, y=128, span=150),
    "shorts": Frame(x=0, y=108, span=122),
    "skirt": Frame(x=0, y=122, span=150),
}
"""What the worn view shows, by plan."""
_LOW: Mapping[str, Mapping[str, Number]] = {
    "top": {"cropped": 96, "hip": 116, "longline": 129},
    "dress": {"mini": 126, "midi": 152, "maxi": 179},
    "jumpsuit": {"cropped": 166, "ankle": 182, "full": 198},
    "pants": {"cropped": 166, "ankle": 182, "full": 198},
    "shorts": {"micro": 128, "mid-thigh": 142, "knee": 158},
    "skirt": {"mini": 126, "midi": 152, "maxi": 180},
}
"""Where a garment ends, by plan and length."""
_WIDE: Mapping[str, Number] = {"sleeveless": 66, "short": 71, "elbow": 79, "long": 94}
"""How wide a garment is with its sleeves; all plans without sleeves are narrower than high."""
_MARGIN = 1.04
_CLOSEUP = Frame(x=0, y=0, span=64)
_WAIST = 78.0


def draw(garment: Garment, view: str, size: int = 256) -> Image.Image:
    """One view of a garment: RGB, size x size pixels, the same for the same arguments.

    Raises ConfigError for a view that does not exist or a size outside [32, 1024].
    """
    if view not in VIEW_NAMES:
        raise ConfigError(f"no view is called {view!r}; choose one of {', '.join(VIEW_NAMES)}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(f"a view cannot be {size} pixels wide; choose {MIN_SIZE} to {MAX_SIZE}")
    shake = studio.jitter(garment.seed, view)
    fine = max(size, _FINE)
    easel = Easel(garment, view, _frame(garment, view), shake, fine, 2.7 if view == "detail" else 1.0)
    if view == "detail":
        closeups.draw_closeup(easel)
    else:
        _VIEWS[view, garment.group.plan](easel)
    return studio.develop(easel.canvas.pixels(), shake, size)


def _frame(garment: Garment, view: str) -> Frame:
    if view == "detail":
        return _CLOSEUP
    plan = "shorts" if garment.group.category == "shorts" else garment.group.plan
    if view == "full":
        return _WORN[plan]
    high = 70.0 if "waist" in garment.values and "neckline" not in garment.values else 20.0
    if view == "front" and garment.values.get("neckline") == "hood":
        high -= 8.0  # only where the hood shows, or the frame would betray it on the other views
    low = _LOW[plan][garment["length"]]
    wide = _WIDE[garment.values.get("sleeves", "sleeveless")]
    wide += 13 * (garment.values.get("fit") == "relaxed") + 10 * (garment.values.get("leg") == "flared")
    return Frame(x=0, y=(high + low) / 2, span=_MARGIN * max(low - high, wide))


def _wear(easel: Easel) -> None:
    """In the worn view, the figure and what it wears beside the garment."""
    if easel.view != "full":
        return
    mannequins.draw_floor(easel)
    mannequins.draw_figure(easel)
    plan = easel.garment.group.plan
    if plan == "top":
        mannequins.draw_plain_trousers(easel)
    elif plan in ("pants", "skirt"):
        mannequins.draw_plain_top(easel)


def _front_top(easel: Easel) -> None:
    base = tops.LENGTHS[easel["length"]]
    necklines.draw_behind(easel)
    _wear(easel)
    tops.draw_sleeves(easel)
    tops.draw_torso(easel, necklines.front_opening(easel), base)
    _dress_front(easel, _closure_end(easel, base))


def _closure_end(easel: Easel, base: Number) -> Number:
    return base + {"ribbed": 6.0, "ruffled": 1.0, "curved": 3.0}.get(easel["hem"], 0.8)


def _dress_front(easel: Easel, low: Number) -> None:
    """Closure, chest and neckline, in the order in which they lie over each other."""
    if easel["chest"].endswith("print"):
        fronts.draw_chest(easel)
    if easel["neckline"] == "notched lapel":
        fronts.draw_closure(easel, low)
        necklines.draw_neckline(easel)
    else:
        necklines.draw_neckline(easel)
        fronts.draw_closure(easel, low)
    if not easel["chest"].endswith("print"):
        fronts.draw_chest(easel)


def _back_top(easel: Easel) -> None:
    base = tops.LENGTHS[easel["length"]]
    tops.draw_sleeves(easel)
    tops.draw_torso(easel, necklines.back_opening(easel), base)
    _dress_back(easel, _closure_end(easel, base))


def _dress_back(easel: Easel, low: Number) -> None:
    tops.shoulder_seams(easel, necklines.back_opening(easel).half)
    necklines.draw_back_neck(easel)
    backs.draw_back(easel, low)


def _side_top(easel: Easel) -> None:
    base = tops.LENGTHS[easel["length"]]
    profiles.draw_torso(easel, base)
    hem = {"slanted left": tops.SLANT, "slanted right": -tops.SLANT, "curved": -6.5, "ribbed": 6.0, "ruffled": 6.5}
    low = base + hem.get(easel["hem"], 0.6)
    sides.draw_side(easel, [(-2.0, 61.0), (-2.6, 72.0), (-2.2, low)])
    profiles.draw_near_arm(easel)


def _half_waist(easel: Easel) -> Number:
    return easel.figure.half_width(_WAIST) + 1.4


def _front_pants(easel: Easel) -> None:
    _wear(easel)
    trousers.draw_legs(easel, _WAIST)
    trousers.draw_fly(easel, _WAIST)
    waists.draw_front_pockets(easel, trousers.hip_half(easel, 96), _WAIST + waists.BAND)
    trousers.draw_knees(easel)
    waists.draw_waist(easel, trousers.hip_half(easel, _WAIST), _WAIST)


def _back_pants(easel: Easel) -> None:
    trousers.draw_legs(easel, _WAIST)
    half = trousers.hip_half(easel, _WAIST)
    waists.plain_band(easel, half, _WAIST)
    waists.draw_back_waist(easel, half, _WAIST)
    trousers.draw_back_pockets(easel, _WAIST + waists.BAND)


def _skirt_bell(easel: Easel) -> Bell:
    return skirts.make_bell(easel, _WAIST, _half_waist(easel), easel.figure.half_width(100) + 1.6)


def _front_skirt(easel: Easel) -> None:
    _wear(easel)
    bell = _skirt_bell(easel)
    skirts.draw_skirt(easel, bell)
    waists.draw_front_pockets(easel, bell.half(94), _WAIST + waists.BAND)
    skirts.draw_slit(easel, bell)
    waists.draw_waist(easel, bell.waist_half, _WAIST)


def _back_skirt(easel: Easel) -> None:
    bell = _skirt_bell(easel)
    skirts.draw_skirt(easel, bell)
    waists.plain_band(easel, bell.waist_half, _WAIST)
    backs.draw_skirt_back(easel, _WAIST + 1.5, bell.low)


def _seam_points(bell: Bell, start: Number) -> list[tuple[Number, Number]]:
    return [(0.0, start), (0.3, (start + bell.low) / 2), (0.0, bell.low)]


def _side_skirt(easel: Easel) -> None:
    bell = profiles.draw_skirt(easel, _WAIST)
    sides.draw_side(easel, _seam_points(bell, _WAIST + waists.BAND))
    waists.plain_band(easel, bell.waist_half, _WAIST)


def _dress_bell(easel: Easel) -> Bell:
    """The skirt of a dress: it begins where the torso ends, as wide as that is there."""
    half = tops.trunk_half(easel, _WAIST)
    hip = max(easel.figure.half_width(100) + {"slim": 0.6, "regular": 1.8, "relaxed": 3.5}[tops.fit(easel)], half)
    return skirts.make_bell(easel, _WAIST, half, hip)


def _front_dress(easel: Easel) -> None:
    necklines.draw_behind(easel)
    _wear(easel)
    tops.draw_sleeves(easel)
    bell = _dress_bell(easel)
    skirts.draw_skirt(easel, bell)
    tops.draw_torso(easel, necklines.front_opening(easel), _WAIST + 1.0, hem=False)
    skirts.draw_slit(easel, bell)
    _dress_front(easel, bell.low if easel["closure"] == "full buttons" else 100.0)


def _back_dress(easel: Easel) -> None:
    tops.draw_sleeves(easel)
    bell = _dress_bell(easel)
    skirts.draw_skirt(easel, bell)
    tops.draw_torso(easel, necklines.back_opening(easel), _WAIST + 1.0, hem=False)
    _dress_back(easel, 96.0)


def _side_dress(easel: Easel) -> None:
    ease = {"slim": 0.0, "regular": 1.8, "relaxed": 5.0}[tops.fit(easel)]
    bell = profiles.draw_skirt(easel, _WAIST, ease)
    profiles.draw_torso(easel, _WAIST + 1.0, hem=False)
    sides.draw_side(easel, [(-2.0, 62.0), *_seam_points(bell, 84.0)])
    profiles.draw_near_arm(easel)


def _front_jumpsuit(easel: Easel) -> None:
    necklines.draw_behind(easel)
    _wear(easel)
    tops.draw_sleeves(easel)
    trousers.draw_legs(easel, _WAIST)
    tops.draw_torso(easel, necklines.front_opening(easel), _WAIST + 2.0, hem=False)
    waists.draw_waist(easel, tops.trunk_half(easel, _WAIST), _WAIST - 1)
    _dress_front(easel, 76.0 if easel["closure"] == "half placket" else 106.0)


def _back_jumpsuit(easel: Easel) -> None:
    tops.draw_sleeves(easel)
    trousers.draw_legs(easel, _WAIST)
    tops.draw_torso(easel, necklines.back_opening(easel), _WAIST + 2.0, hem=False)
    waists.plain_band(easel, tops.trunk_half(easel, _WAIST), _WAIST - 1)
    _dress_back(easel, 96.0)


def _side_jumpsuit(easel: Easel) -> None:
    profiles.draw_trousers(easel, _WAIST, band=False)
    profiles.draw_torso(easel, _WAIST + 2.0, hem=False)
    waists.plain_band(easel, 10.0, _WAIST - 1)
    profiles.draw_near_arm(easel)


def _side_pants(easel: Easel) -> None:
    profiles.draw_trousers(easel, _WAIST)


_VIEWS: Mapping[tuple[str, str], Callable[[Easel], None]] = {
    ("front", "top"): _front_top,
    ("full", "top"): _front_top,
    ("back", "top"): _back_top,
    ("side", "top"): _side_top,
    ("front", "pants"): _front_pants,
    ("full", "pants"): _front_pants,
    ("back", "pants"): _back_pants,
    ("side", "pants"): _side_pants,
    ("front", "skirt"): _front_skirt,
    ("full", "skirt"): _front_skirt,
    ("back", "skirt"): _back_skirt,
    ("side", "skirt"): _side_skirt,
    ("front", "dress"): _front_dress,
    ("full", "dress"): _front_dress,
    ("back", "dress"): _back_dress,
    ("side", "dress"): _side_dress,
    ("front", "jumpsuit"): _front_jumpsuit,
    ("full", "jumpsuit"): _front_jumpsuit,
    ("back", "jumpsuit"): _back_jumpsuit,
    ("side", "jumpsuit"): _side_jumpsuit,
}
