"""What lies on the back of an upper body or a skirt."""

from __future__ import annotations

from procir.catalog.atelier.drawing import trims
from procir.catalog.atelier.drawing.easel import Easel, row
from procir.catalog.atelier.drawing.necklines import BACK_DEPTH, back_opening
from procir.catalog.atelier.drawing.paths import Number, Path, ellipse, segment, smooth
from procir.catalog.atelier.drawing.tones import BLACK, WHITE, mix
from procir.catalog.atelier.drawing.tops import torso_path, trunk_half


def draw_back(easel: Easel, low: Number) -> None:
    """The back's feature, down to a height."""
    kind, top = easel["back"], back_opening(easel).y + BACK_DEPTH * 0.75
    if kind == "yoke":
        _yoke(easel, low)
    elif kind == "keyhole":
        _keyhole(easel, top)
    elif kind == "criss-cross straps":
        _straps(easel)
    elif kind == "zipper":
        trims.zipper(easel, [(0, top), (0, top + 20), (0, min(low, 84))], 3.6, 1.15)
    elif kind == "button row":
        easel.seam(segment(0, top, 0, low))
        for x, y in row(0, top, min(low, 92), 6):
            trims.button(easel, x, y, 1.8)
    elif kind == "bow":
        trims.bow(easel, 0, 50, 12.5, 1.25)
    elif kind.endswith("print"):
        trims.figure_print(easel, kind, 0, 64, 13)
    elif kind == "center vent":
        easel.seam(segment(0, top, 0, low - 16))
        trims.vent(easel, 0, low - 18, low + 1, 9)


def _yoke(easel: Easel, low: Number) -> None:
    half = trunk_half(easel, 56) + 2
    edge = smooth([(-half, 52), (-half * 0.4, 57), (0, 58.5), (half * 0.4, 57), (half, 52)])
    patch = smooth([(-half, 52), (-half * 0.4, 57), (0, 58.5), (half * 0.4, 57), (half, 52)])
    patch.line(half, 30).line(-half, 30).close()
    with easel.canvas.clipped(torso_path(easel, back_opening(easel), low, "straight")):
        easel.canvas.fill(patch, WHITE if easel.dark else BLACK, 0.16)
        easel.seam(edge, 1.5)
        easel.stitch(edge.moved(0, -1.8), 1.0)
    loop = Path().move(-1.6, 58.5).line(-1.6, 63).line(1.6, 63).line(1.6, 58.5)
    easel.canvas.stroke(loop, mix(easel.base, easel.contrast, 0.5), 1.3)
    easel.seam(segment(0, 63, 0, min(low - 6, 92)), 0.8)


def _keyhole(easel: Easel, top: Number) -> None:
    path = Path().move(0, top + 2).curve(7, top + 8, 7.5, top + 22, 0, top + 22)
    path.curve(-7.5, top + 22, -7, top + 8, 0, top + 2).close()
    easel.hole(path)
    easel.canvas.stroke(path, easel.trim, 1.4)
    easel.canvas.stroke(path, easel.outline, easel.pixel)
    trims.button(easel, 0, top + 1, 1.9)


def _straps(easel: Easel) -> None:
    easel.hole(ellipse(0, 57, 11.5, 15))
    for side in (-1, 1):
        for shift in (0.0, 10.0):
            strap = segment(side * -9.6, 48 + shift, side * 9.6, 58 + shift)
            easel.canvas.stroke(strap, easel.outline, 3.0 + 2 * easel.pixel, flat=True)
            easel.canvas.stroke(strap, easel.trim, 3.0, flat=True)
    easel.canvas.stroke(ellipse(0, 57, 11.5, 15), easel.trim, 1.8)
    easel.canvas.stroke(ellipse(0, 57, 12.5, 16), easel.outline, easel.pixel)


def draw_skirt_back(easel: Easel, waist: Number, low: Number) -> None:
    """The feature on the back of a skirt, between its waist and a height."""
    kind = easel["back"]
    if kind == "zipper":
        trims.zipper(easel, [(0, waist), (0, waist + 12), (0, waist + 24)], 3.6, 1.15)
        easel.seam(segment(0, waist + 24, 0, low))
    elif kind == "bow":
        trims.bow(easel, 0, waist + 5, 12.5, 1.35)
    elif kind == "button row":
        easel.seam(segment(0, waist, 0, low))
        for x, y in row(0, waist, low, max(4, round((low - waist) / 9))):
            trims.button(easel, x, y, 1.8)
    elif kind == "center vent":
        easel.seam(segment(0, waist, 0, low - 18))
        trims.vent(easel, 0, low - 18, low + 1, 10)
    elif kind == "two pockets":
        for side in (-1, 1):
            trims.pocket(easel, side * 9.5, waist + 10, 12, 13)
