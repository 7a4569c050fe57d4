"""Colours and what follows from them: shades, seams that show, trims that stand out."""

from __future__ import annotations

from procir.catalog.atelier.drawing.canvas import Color
from procir.catalog.atelier.drawing.paths import Number

BLACK: Color = (14, 14, 18)
WHITE: Color = (255, 255, 255)
CREAM: Color = (246, 240, 226)
INK: Color = (38, 40, 54)
STEEL: Color = (176, 180, 188)


def parse_color(text: str) -> Color:
    """#rrggbb as numbers."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def mix(first: Color, second: Color, share: Number) -> Color:
    """A colour between two; share 0 is the first."""
    r, g, b = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return r, g, b


def luminance(color: Color) -> Number:
    """Perceived brightness in [0, 1]."""
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255


def contrasting(color: Color) -> Color:
    """A trim colour that stands out: cream on dark cloth, ink on light."""
    return CREAM if luminance(color) < 0.5 else INK


def outline(color: Color) -> Color:
    """The line around a piece of this colour."""
    return mix(color, BLACK, 0.42 + 0.2 * luminance(color))
