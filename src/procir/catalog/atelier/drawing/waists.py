"""Waistbands, and the pockets and folds that begin below them."""

from __future__ import annotations

from procir.catalog.atelier.drawing import trims
from procir.catalog.atelier.drawing.canvas import Color
from procir.catalog.atelier.drawing.easel import Easel, flounce
from procir.catalog.atelier.drawing.paths import Number, Path, box, polygon, segment, smooth
from procir.catalog.atelier.drawing.tones import BLACK, CREAM, STEEL, mix, outline

_LEATHER: Color = (104, 66, 38)
BAND = 5.2


def _band_path(half: Number, y: Number, depth: Number = BAND) -> Path:
    path = Path().move(-half, y).curve(-half * 0.4, y + 1.2, half * 0.4, y + 1.2, half, y)
    path.line(half + 0.9, y + depth)
    return path.curve(half * 0.4, y + depth + 1.4, -half * 0.4, y + depth + 1.4, -half - 0.9, y + depth).close()


def plain_band(easel: Easel, half: Number, y: Number) -> None:
    """The waistband where the sheet's waist does not show: from the back and the side."""
    path = _band_path(half, y)
    with easel.panel(path, ((-half, 0), (half, 0)), (0, y)):
        pass
    easel.seam(smooth([(-half - 0.9, y + BAND), (0, y + BAND + 1.1), (half + 0.9, y + BAND)]))


def draw_waist(easel: Easel, half: Number, y: Number) -> None:
    """The waistband seen from the front; y is its upper edge."""
    kind = easel["waist"]
    if kind == "paperbag":
        flounce(easel, ((half, y + 1.5), (-half, y + 1.5)), 7.0, 2.2, 8, (0.0, -1.0))
    plain_band(easel, half, y)
    if kind == "flat band":
        _loops(easel, half, y)
        easel.seam(segment(0, y + 1, 0, y + BAND + 1))
        trims.button(easel, -1.0, y + BAND / 2 + 0.9, 1.8)
    elif kind in ("elastic", "drawstring"):
        _gathers(easel, half, y)
        if kind == "drawstring":
            _cords(easel, y)
    elif kind == "belt":
        _belt(easel, half, y)
    elif kind == "paperbag":
        _sash(easel, half, y)


def _loops(easel: Easel, half: Number, y: Number) -> None:
    for x in (-half * 0.58, half * 0.58):
        easel.piece(box(x - 0.9, y - 0.4, 1.8, BAND + 2.2), easel.trim, 0.1)


def _gathers(easel: Easel, half: Number, y: Number) -> None:
    easel.ribs(((-half, y + 0.6), (half, y + 0.6)), ((-half - 0.6, y + BAND + 0.8), (half + 0.6, y + BAND + 0.8)), 20)
    for x in (-0.86, -0.62, -0.38, -0.14, 0.12, 0.36, 0.6, 0.84):
        easel.fold(x * half, y + BAND, x * half * 1.08, y + BAND + 16, 1.9)


def _cords(easel: Easel, y: Number) -> None:
    top = y + BAND * 0.6
    for side in (-1, 1):
        cord = smooth([(side * 0.8, top), (side * 3.6, top + 8), (side * 2.6, top + 19)])
        easel.canvas.stroke(cord, outline(easel.contrast), 1.7 + 1.8 * easel.pixel)
        easel.canvas.stroke(cord, easel.contrast, 1.7)
        easel.canvas.stroke(segment(side * 2.65, top + 18, side * 2.5, top + 21), outline(easel.contrast), 2.6)
    loop = smooth(
        [
            (0, top + 1),
            (4.6, top - 0.5),
            (5.2, top + 3.4),
            (0, top + 1),
            (-5.2, top + 3.4),
            (-4.6, top - 0.5),
            (0, top + 1),
        ]
    )
    easel.canvas.stroke(loop, outline(easel.contrast), 1.4 + 1.8 * easel.pixel)
    easel.canvas.stroke(loop, easel.contrast, 1.4)


def _belt(easel: Easel, half: Number, y: Number) -> None:
    leather = _LEATHER if max(abs(a - b) for a, b in zip(_LEATHER, easel.base, strict=True)) > 60 else (226, 196, 150)
    easel.piece(_band_path(half + 0.4, y + 0.3, BAND - 0.4), leather, 0.3)
    for x in (-half * 0.62, half * 0.62):
        easel.piece(box(x - 1, y - 0.6, 2, BAND + 2.4), easel.trim, 0.1)
    middle = y + BAND / 2 + 0.9
    for size, color, width in ((4.0, BLACK, 2.9), (4.0, STEEL, 1.7)):
        easel.canvas.stroke(box(-size, middle - 3.2, 2 * size, 6.4, 1.2), color, width * 0.75)
    easel.canvas.stroke(segment(-0.5, middle, 4, middle), STEEL, 1.1)


def _sash(easel: Easel, half: Number, y: Number) -> None:
    sash = _band_path(half + 0.3, y + 0.8, BAND - 1.2)
    easel.piece(sash, easel.trim, 0.2)
    for x in (-0.7, -0.35, 0.35, 0.7):
        easel.fold(x * half, y + BAND + 1, x * half * 1.1, y + BAND + 15, 1.0)
    trims.bow(easel, 0, y + BAND / 2 + 0.8, 7.5, 1.7)


def draw_front_pockets(easel: Easel, half: Number, y: Number) -> None:
    """Pockets below the front of a waistband; half is the hip's half width, y the band's lower edge."""
    kind = easel["front pockets"]
    for side in (-1, 1):
        if kind == "slash":
            edge = smooth([(side * half * 0.42, y + 1), (side * half * 0.62, y + 9), (side * half * 0.97, y + 15)])
            opening = smooth([(side * half * 0.42, y + 1), (side * half * 0.62, y + 9), (side * half * 0.97, y + 15)])
            opening.line(side * half * 0.99, y + 12).line(side * half * 0.56, y + 1).close()
            easel.canvas.fill(opening, BLACK if not easel.dark else mix(easel.base, CREAM, 0.35), 0.4)
            easel.seam(edge, 1.5)
            easel.stitch(edge.moved(-side * 1.6, 0.8))
        elif kind == "patch":
            trims.pocket(easel, side * half * 0.54, y + 6, 13, 15)
        elif kind == "zip":
            trims.zipper(
                easel, [(side * half * 0.45, y + 4), (side * half * 0.6, y + 10), (side * half * 0.76, y + 16)], 3.0
            )


def draw_back_waist(easel: Easel, half: Number, y: Number) -> None:
    """What lies at the back of a waistband; y is its upper edge."""
    kind, low = easel["back waist"], y + BAND
    if kind == "v yoke":
        edge = Path().move(-half - 2.8, low + 5).line(0, low + 13).line(half + 2.8, low + 5)
        patch = Path().move(-half - 2.8, low + 5).line(0, low + 13).line(half + 2.8, low + 5).line(half, low + 0.5)
        easel.canvas.fill(patch.line(-half, low + 0.5).close(), BLACK if not easel.dark else CREAM, 0.13)
        easel.seam(edge, 1.5)
        easel.stitch(edge.moved(0, -1.8), 1.0)
    elif kind == "gathered":
        _gathers(easel, half, y)
    elif kind == "tie":
        trims.bow(easel, 0, y + BAND / 2 + 0.6, 10.0, 1.5)
    elif kind == "buckle tab":
        _buckle_tab(easel, low)


def _buckle_tab(easel: Easel, low: Number) -> None:
    for side in (-1, 1):
        tab = polygon([(side * 13, low + 1.6), (side * 2, low + 2.6), (side * 1, low + 4.4), (side * 2, low + 6.2),
                       (side * 12.4, low + 6.6)])  # fmt: skip
        easel.piece(tab, easel.trim, 0.15)
    easel.canvas.stroke(box(-3.4, low + 1.2, 6.8, 6.4, 1), BLACK, 2.2)
    easel.canvas.stroke(box(-3.4, low + 1.2, 6.8, 6.4, 1), STEEL, 1.3)
    easel.canvas.stroke(segment(-3.4, low + 4.4, 3.4, low + 4.4), STEEL, 1.2)
