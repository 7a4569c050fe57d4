"""What lies on the front of an upper body: closures, and what is on the chest."""

from __future__ import annotations

from procir.catalog.atelier.drawing import trims
from procir.catalog.atelier.drawing.easel import Easel, row
from procir.catalog.atelier.drawing.necklines import front_opening
from procir.catalog.atelier.drawing.paths import Number, box, polygon, segment, smooth
from procir.catalog.atelier.drawing.tones import BLACK, WHITE, mix

_POCKET = (11.5, 12.5)


def _top_of_closure(easel: Easel) -> Number:
    opening = front_opening(easel)
    if easel["neckline"] == "mock":
        return opening.y - 5.0
    return opening.y + opening.depth * (1.0 if opening.shape in ("v", "square") else 0.94) + 1.0


def draw_closure(easel: Easel, low: Number) -> None:
    """The closure, down to a height."""
    top, kind = _top_of_closure(easel), easel["closure"]
    if kind == "full buttons":
        _placket(easel, top, low)
        for x, y in row(0, top, low - 1, max(3, round((low - top) / 11))):
            trims.button(easel, x, y, 1.75)
    elif kind == "half placket":
        _half_placket(easel, top)
    elif kind == "zipper":
        trims.zipper(easel, [(0, top), (0, (top + low) / 2), (0, low)], 3.6, 1.15)
    elif kind == "double-breasted":
        _double_breasted(easel, top, low)
    elif kind == "tie front":
        _tie_front(easel, top, low)


def _placket(easel: Easel, top: Number, low: Number) -> None:
    path = box(-3.1, top, 6.2, low - top)
    easel.canvas.fill(path, WHITE if easel.dark else BLACK, 0.09)
    for x in (-3.1, 3.1):
        easel.seam(segment(x, top, x, low))


def _half_placket(easel: Easel, top: Number) -> None:
    low = top + 23
    path = polygon([(-3.1, top), (3.1, top), (3.1, low), (0, low + 2), (-3.1, low)])
    easel.piece(path, mix(easel.base, WHITE, 0.2) if easel.dark else mix(easel.base, BLACK, 0.12), 0.1)
    easel.seam(path)
    easel.stitch(segment(-3.1, low - 3, 3.1, low - 3))
    for x, y in row(0, top, low - 2, 3):
        trims.button(easel, x, y, 1.7)


def _double_breasted(easel: Easel, top: Number, low: Number) -> None:
    start = max(top - 4, easel.figure.neck_y + 8)
    easel.seam(smooth([(2, start), (8.5, start + 9), (9.5, start + 16), (9.5, low)]), 1.3)
    count = 4 if low - start > 55 else 3
    for side in (-1, 1):
        for x, y in row(side * 6.2, max(start + 10, 56), low - 3, count):
            trims.button(easel, x, y, 2.2)


def _tie_front(easel: Easel, top: Number, low: Number) -> None:
    knot = max(top + 3, min(74.0, low - 16))
    easel.seam(segment(0, top, 0, knot))
    if low - knot > 14:
        easel.hole(polygon([(0, knot), (4.6, low - 0.5), (-4.6, low - 0.5)]))
    trims.bow(easel, 0, knot, 11.0, 1.15)


def draw_chest(easel: Easel) -> None:
    """Pockets, emblem or print on the chest."""
    kind, left = easel["chest"], easel.wearers_left
    x = easel.figure.armpit * 0.53 + 1.2
    width, height = _POCKET
    if kind in ("left pocket", "two pockets"):
        trims.pocket(easel, left * x, 55, width, height)
    if kind in ("right pocket", "two pockets"):
        trims.pocket(easel, -left * x, 55, width, height)
    if kind == "left emblem":
        trims.emblem(easel, left * x, 58, 5.2)
    if kind == "right emblem":
        trims.emblem(easel, -left * x, 58, 5.2)
    if kind.endswith("print"):
        trims.figure_print(easel, kind, 0, 68, 11.5)
