"""Necklines, collars, lapels and hoods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from procir.catalog.atelier.drawing.canvas import Color
from procir.catalog.atelier.drawing.easel import Easel
from procir.catalog.atelier.drawing.paths import Number, Path, box, polygon, segment, smooth
from procir.catalog.atelier.drawing.tones import BLACK, CREAM, WHITE, mix, outline

BACK_DEPTH = 3.2


@dataclass(frozen=True, slots=True)
class Opening:
    """The hole for the neck: half its width at the shoulders, their height there, how deep it goes, and its shape."""

    half: Number
    y: Number
    depth: Number
    shape: str

    def trace(self, path: Path) -> Path:
        """Continue a path that stands at the left end of the opening to the right end."""
        half, y, low = self.half, self.y, self.y + self.depth
        if self.shape == "v":
            return path.curve(-half * 0.9, y + self.depth * 0.3, -half * 0.3, low - 3, 0, low).curve(
                half * 0.3, low - 3, half * 0.9, y + self.depth * 0.3, half, y
            )
        if self.shape == "square":
            return path.line(-half * 0.94, low).line(half * 0.94, low).line(half, y)
        control = y + self.depth * 1.33
        reach = 0.92 if self.shape == "round" else 0.7
        return path.curve(-half * reach, control, half * reach, control, half, y)

    def edge(self) -> Path:
        """The neckline as an open path from left to right."""
        return self.trace(Path().move(-self.half, self.y))


_SHAPES: Mapping[str, tuple[Number, Number, str]] = {
    "crew": (2.6, 9.0, "round"),
    "v-neck": (3.0, 23.0, "v"),
    "scoop": (5.0, 20.0, "round"),
    "square": (5.6, 16.0, "square"),
    "boat": (8.6, 5.0, "flat"),
    "mock": (1.2, 3.5, "round"),
    "point collar": (2.0, 12.0, "v"),
    "mandarin collar": (1.6, 7.0, "v"),
    "notched lapel": (2.4, 36.0, "v"),
    "hood": (3.0, 11.0, "v"),
}


def front_opening(easel: Easel) -> Opening:
    """The opening of the garment's neckline."""
    wider, depth, shape = _SHAPES[easel["neckline"]]
    half = easel.figure.neck + wider
    return Opening(half, easel.figure.shoulder_line(half), depth, shape)


def back_opening(easel: Easel) -> Opening:
    """The opening seen from the back and the side: the same for every neckline."""
    half = easel.figure.neck + 2.0
    return Opening(half, easel.figure.shoulder_line(half), BACK_DEPTH, "flat")


def draw_behind(easel: Easel) -> None:
    """What lies behind the neck in front views: the inside of the back, and a hood."""
    opening, kind = front_opening(easel), easel["neckline"]
    if kind == "hood":
        _hood_behind(easel)
    if easel.view == "full":
        return
    half, y = opening.half, opening.y
    rise = 5.0 if kind in ("point collar", "mandarin collar", "notched lapel") else 0.5
    path = Path().move(-half, y).curve(-half * 0.6, y - rise + 1, half * 0.6, y - rise + 1, half, y)
    path.line(half, y + 1).curve(half, y + opening.depth + 4, -half, y + opening.depth + 4, -half, y + 1).close()
    easel.hole(path)
    if rise > 1:
        _collar_stand(easel, opening)
    _label(easel, y + (1.2 if opening.depth > 6 else 0.6))


def _collar_stand(easel: Easel, opening: Opening) -> None:
    """The inner side of a collar, behind the neck."""
    half, y = opening.half * 0.86, opening.y
    path = Path().move(-half, y - 5.2).curve(-half * 0.5, y - 7.4, half * 0.5, y - 7.4, half, y - 5.2)
    path.line(half, y - 1).curve(half * 0.5, y - 3, -half * 0.5, y - 3, -half, y - 1).close()
    easel.piece(path, mix(easel.trim, BLACK, 0.12))


def _label(easel: Easel, y: Number) -> None:
    easel.canvas.fill(box(-2.4, y, 4.8, 2.6), CREAM, 0.92)
    easel.canvas.stroke(segment(-1.4, y + 1.3, 1.4, y + 1.3), (120, 110, 100), 0.5)


def draw_neckline(easel: Easel) -> None:
    """Everything at the neck that lies on the torso."""
    opening = front_opening(easel)
    _FINISHES[easel["neckline"]](easel, opening)


def draw_back_neck(easel: Easel) -> None:
    """The neck seen from the back."""
    _binding(easel, back_opening(easel), 2.4)


def _binding(easel: Easel, opening: Opening, width: Number = 2.8) -> None:
    edge, half, y = opening.edge(), opening.half, opening.y
    slope = easel.figure.shoulder_line(40) - 0.4
    below = polygon([(-40, slope), (-half, y - 0.4), (half, y - 0.4), (40, slope), (40, 90), (-40, 90)])
    with easel.canvas.clipped(below):
        easel.canvas.stroke(edge, easel.outline, width + 2 * easel.pixel, flat=True)
        easel.canvas.stroke(edge, easel.trim, width, flat=True)
        easel.canvas.stroke(edge, mix(easel.trim, BLACK, 0.35), width, 0.5, dash=(0.7, 1.1))


def _mock(easel: Easel, opening: Opening) -> None:
    half, y = opening.half, opening.y
    path = Path().move(-half - 0.8, y + 1).line(-half + 0.8, y - 8.5)
    path.curve(-half * 0.4, y - 7, half * 0.4, y - 7, half - 0.8, y - 8.5).line(half + 0.8, y + 1)
    path.curve(half * 0.6, y + 6, -half * 0.6, y + 6, -half - 0.8, y + 1).close()
    with easel.panel(path, ((-half, y), (half, y)), (0, y)):
        easel.ribs(((-half + 0.8, y - 8.5), (half - 0.8, y - 8.5)), ((-half - 0.8, y + 5), (half + 0.8, y + 5)), 13)
    if easel.view != "full":
        rim = Path().move(-half + 0.8, y - 8.5).curve(-half * 0.4, y - 10.5, half * 0.4, y - 10.5, half - 0.8, y - 8.5)
        easel.hole(rim.curve(half * 0.4, y - 7, -half * 0.4, y - 7, -half + 0.8, y - 8.5).close())


def _collar_color(easel: Easel) -> Color:
    return mix(easel.base, WHITE, 0.12) if easel.dark else mix(easel.base, BLACK, 0.07)


def _point_collar(easel: Easel, opening: Opening) -> None:
    half, y = opening.half, opening.y
    for side in (-1, 1):
        path = (
            Path()
            .move(0, y + 11.5)
            .curve(side * half * 0.6, y + 7, side * half * 0.95, y + 1, side * half * 0.8, y - 5)
        )
        path.curve(side * (half + 1.5), y - 3, side * (half + 3.2), y + 1, side * (half + 4.4), y + 5)
        path.line(side * (half + 1.4), y + 17).close()
        _leaf_collar(easel, path)


def _leaf_collar(easel: Easel, path: Path) -> None:
    easel.canvas.fill(path.moved(0, 1.1), BLACK, 0.3)
    with easel.panel(path, ((-16, 0), (16, 0)), (4, 40), 24.0, depth=0.5):
        easel.canvas.fill(path, WHITE if easel.dark else BLACK, 0.08)
    easel.seam(path, 0.7)


def _mandarin(easel: Easel, opening: Opening) -> None:
    half, y = opening.half, opening.y
    for side in (-1, 1):
        path = (
            Path()
            .move(side * 0.7, y + 8)
            .curve(side * half * 0.5, y + 7, side * half, y + 4, side * (half + 1), y + 0.5)
        )
        path.line(side * (half - 0.6), y - 6)
        path.curve(side * half * 0.75, y - 2.5, side * half * 0.4, y + 0.5, side * 1.6, y + 1.6).close()
        _leaf_collar(easel, path)


def _lapel(easel: Easel, opening: Opening) -> None:
    half, y, low = opening.half, opening.y, opening.y + opening.depth
    for side in (-1, 1):
        lapel = polygon([(0, low + 1), (side * half * 0.72, y + 11), (side * half * 1.02, y + 4),
                         (side * (half + 8.5), y + 10), (side * (half + 5.8), y + 15)])  # fmt: skip
        _leaf_collar(easel, lapel)
        collar = polygon([(side * half * 0.8, y - 5), (side * half * 0.92, y + 6.5), (side * (half + 5.6), y + 9.5),
                          (side * (half + 6.4), y + 5.0), (side * (half + 2.6), y - 0.5)])  # fmt: skip
        _leaf_collar(easel, collar)


def _hood_behind(easel: Easel) -> None:
    y = easel.figure.neck_y
    if easel.view == "full":
        path = smooth(
            [(-17, y + 8), (-16.5, y - 2), (-10, y - 9), (0, y - 11), (10, y - 9), (16.5, y - 2), (17, y + 8)]
        )
    else:
        path = smooth(
            [(-15, y + 8), (-15.5, y - 6), (-11, y - 15.5), (0, y - 19), (11, y - 15.5), (15.5, y - 6), (15, y + 8)]
        )
    path.close()
    with easel.panel(path, ((-16, y), (16, y)), (0, y)):
        pass
    if easel.view != "full":
        inner = smooth(
            [(-9, y + 9), (-10, y - 4), (-6.5, y - 13), (0, y - 15.5), (6.5, y - 13), (10, y - 4), (9, y + 9)]
        )
        easel.hole(inner.close())


def _hood(easel: Easel, opening: Opening) -> None:
    half, y, low = opening.half, opening.y, opening.y + opening.depth
    for side in (-1, 1):
        inner = half * 0.95 if easel.view == "full" else 9.0
        top = y - (3 if easel.view == "full" else 8)
        path = Path().move(0, low + 2).curve(side * half * 0.5, low - 3, side * inner, y + 4, side * inner, top)
        path.line(side * (half + 6.6), top + 3)
        path.curve(side * (half + 8), y + 6, side * (half * 0.8), low + 3, 0, low + 6).close()
        _leaf_collar(easel, path)
        cord = smooth([(side * 3.0, low + 2.2), (side * 4.4, low + 11), (side * 3.9, low + 21)])
        easel.canvas.stroke(cord, outline(easel.contrast), 1.3 + 1.6 * easel.pixel)
        easel.canvas.stroke(cord, easel.contrast, 1.3)
        tip = segment(side * 3.95, low + 19, side * 3.9, low + 22)
        easel.canvas.stroke(tip, outline(easel.contrast), 2.2)


_FINISHES: Mapping[str, Callable[[Easel, Opening], None]] = {
    "crew": _binding,
    "v-neck": _binding,
    "scoop": _binding,
    "square": _binding,
    "boat": _binding,
    "mock": _mock,
    "point collar": _point_collar,
    "mandarin collar": _mandarin,
    "notched lapel": _lapel,
    "hood": _hood,
}
