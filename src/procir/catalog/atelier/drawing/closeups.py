"""The close-up: cloth, a stitched seam, and the hardware."""

from __future__ import annotations

from collections.abc import Mapping

from procir.catalog.atelier.drawing.canvas import Color
from procir.catalog.atelier.drawing.easel import Easel
from procir.catalog.atelier.drawing.paths import Number, Path, box, ellipse, segment, smooth
from procir.catalog.atelier.drawing.tones import BLACK, WHITE, mix

_METALS: Mapping[str, Color] = {
    "black": (30, 30, 33),
    "silver": (192, 197, 206),
    "brass": (204, 160, 62),
    "wooden": (158, 102, 56),
}
_THREADS: Mapping[str, Color] = {"white": (252, 252, 250), "gold": (232, 172, 36)}


def draw_closeup(easel: Easel) -> None:
    """Fill the whole picture with cloth, crossed by a seam; a button or rivet lies on each side of it."""
    everything = box(-48, -48, 96, 96)
    easel.canvas.fill(everything, easel.base)
    easel.lay_cloth(everything, (0, 0), 4.0)
    easel.crease(everything, 0, 0.8)
    flip = 1 if easel.shake.layout % 2 else -1
    edge = [(flip * x, y) for x, y in ((-6.0, -48.0), (-5.0, -20.0), (-3.5, 0.0), (-6.5, 22.0), (-12.0, 48.0))]
    _upper_panel(easel, edge, flip)
    _light(easel, everything)
    layouts = (_buttons, _rivets, _zip)
    layouts[(easel.shake.layout >> 1) % 3](easel, flip)


def _upper_panel(easel: Easel, edge: list[tuple[Number, Number]], flip: int) -> None:
    line = smooth(edge)
    panel = smooth(edge).line(flip * 48, 48).line(flip * 48, -48).close()
    for width, alpha in ((5.0, 0.10), (3.0, 0.14), (1.4, 0.25)):
        easel.canvas.stroke(line.moved(-flip * 0.8, 0.4), BLACK, width, alpha)
    easel.canvas.fill(panel, easel.base)
    with easel.canvas.clipped(panel):
        easel.lay_cloth(panel, (flip * 20, 4), -7.0)
        easel.crease(panel, 3, 0.7)
        start, end = (edge[2][0], 0.0), (edge[2][0] + flip * 9, 0.0)
        easel.canvas.linear(panel, start, end, [(0, WHITE, 0.16), (0.35, WHITE, 0.04), (1, BLACK, 0.06)])
    easel.canvas.stroke(line, mix(easel.base, BLACK, 0.7), 0.55)
    easel.canvas.stroke(line.moved(flip * 0.5, 0), WHITE, 0.4, 0.35)
    for shift in (2.6, 5.6):
        _stitches(easel, line.moved(flip * shift, 0))


def _stitches(easel: Easel, line: Path) -> None:
    thread = _THREADS.get(easel["stitching"])
    if thread is None:
        thread = mix(easel.base, WHITE, 0.28) if easel.dark else mix(easel.base, BLACK, 0.34)
    groove = mix(easel.base, BLACK, 0.72)
    easel.canvas.stroke(line, groove, 1.75, 0.85, dash=(3.1, 1.3))
    easel.canvas.stroke(line, thread, 1.15, dash=(2.8, 1.6))
    easel.canvas.stroke(line.moved(-0.2, -0.25), mix(thread, WHITE, 0.5), 0.3, 0.7, dash=(2.8, 1.6))


def _light(easel: Easel, everything: Path) -> None:
    side = easel.shake.light
    stops = [(0.0, WHITE, 0.14), (0.5, WHITE, 0.0), (0.75, BLACK, 0.05), (1.0, BLACK, 0.24)]
    easel.canvas.linear(everything, (30 * side, -34), (-30 * side, 36), stops)


def _metal(easel: Easel) -> Color:
    return _METALS[easel["hardware"]]


def _round(easel: Easel, x: Number, y: Number, radius: Number) -> None:
    """A disc of the hardware's material with shadow, bevel and glint."""
    canvas, color = easel.canvas, _metal(easel)
    canvas.radial(ellipse(x + 0.9, y + 1.6, radius * 1.3, radius * 1.3), (x + 0.9, y + 1.6), radius * 1.3,
                  [(0, BLACK, 0.6), (0.7, BLACK, 0.5), (1, BLACK, 0.0)])  # fmt: skip
    shine = 0.28 if easel["hardware"] == "wooden" else 0.62 if easel["hardware"] != "black" else 0.3
    disc = ellipse(x, y, radius, radius)
    canvas.linear(disc, (x - radius * 0.7, y - radius * 0.8), (x + radius * 0.7, y + radius * 0.8),
                  [(0, mix(color, WHITE, shine), 1), (0.45, color, 1), (1, mix(color, BLACK, 0.42), 1)])  # fmt: skip
    canvas.stroke(disc, mix(color, BLACK, 0.62), 0.5)
    if easel["hardware"] == "wooden":
        _wood(easel, disc, x, y, radius)
    if easel["hardware"] == "black":
        canvas.stroke(ellipse(x, y, radius * 1.04, radius * 1.04), mix(easel.base, WHITE, 0.55), 0.35, 0.8)


def _wood(easel: Easel, clip: Path, x: Number, y: Number, radius: Number) -> None:
    with easel.canvas.clipped(clip):
        for i in range(-4, 5):
            grain = smooth([(x - radius, y + i * radius * 0.24), (x, y + (i * 0.24 + 0.1) * radius),
                            (x + radius, y + (i * 0.24 - 0.06) * radius)])  # fmt: skip
            easel.canvas.stroke(grain, (92, 54, 26), 0.35 + 0.12 * (i % 2), 0.6)


def _button(easel: Easel, x: Number, y: Number, radius: Number) -> None:
    _round(easel, x, y, radius)
    color = _metal(easel)
    rim = ellipse(x, y, radius * 0.7, radius * 0.7)
    easel.canvas.linear(rim, (x - radius, y - radius), (x + radius, y + radius),
                        [(0, BLACK, 0.34), (0.6, BLACK, 0.05), (1, WHITE, 0.28)])  # fmt: skip
    thread = _THREADS.get(easel["stitching"], mix(easel.base, BLACK, 0.3))
    for dx in (-0.2, 0.2):
        for dy in (-0.2, 0.2):
            easel.canvas.fill(
                ellipse(x + dx * radius, y + dy * radius, radius * 0.115, radius * 0.115), mix(color, BLACK, 0.8)
            )
        easel.canvas.stroke(
            segment(x + dx * radius, y - 0.2 * radius, x + dx * radius, y + 0.2 * radius), thread, radius * 0.1
        )


def _buttonhole(easel: Easel, x: Number, y: Number) -> None:
    thread = _THREADS.get(easel["stitching"], mix(easel.base, WHITE if easel.dark else BLACK, 0.35))
    easel.canvas.stroke(segment(x - 5, y, x + 5, y), mix(easel.base, BLACK, 0.7), 2.6)
    easel.canvas.stroke(segment(x - 5, y, x + 5, y), thread, 2.1)
    easel.canvas.stroke(segment(x - 5, y, x + 5, y), mix(easel.base, BLACK, 0.85), 0.7)


def _buttons(easel: Easel, flip: int) -> None:
    _button(easel, flip * 13.5, -13.5, 7.6)
    _button(easel, flip * 12.5, 15.5, 7.6)
    _buttonhole(easel, -flip * 18.0, 2.0)


def _rivet(easel: Easel, x: Number, y: Number, radius: Number) -> None:
    _round(easel, x, y, radius)
    easel.canvas.stroke(ellipse(x, y, radius * 0.62, radius * 0.62), mix(_metal(easel), BLACK, 0.5), 0.5)
    _glint(easel, x, y, radius * 0.45)


def _glint(easel: Easel, x: Number, y: Number, radius: Number) -> None:
    color = _metal(easel)
    easel.canvas.radial(ellipse(x, y, radius, radius), (x - radius * 0.3, y - radius * 0.3), radius * 1.2,
                        [(0, mix(color, WHITE, 0.75), 1), (1, mix(color, BLACK, 0.2), 1)])  # fmt: skip


def _rivets(easel: Easel, flip: int) -> None:
    curve = smooth([(flip * 48, -15.0), (flip * 22, -13.0), (flip * 11.0, -6.0), (flip * 8.5, 8.0), (flip * 8.0, 48.0)])
    easel.canvas.stroke(curve.moved(flip * 0.5, 0.6), BLACK, 2.2, 0.25)
    easel.canvas.stroke(curve, mix(easel.base, BLACK, 0.7), 0.6)
    _stitches(easel, curve.moved(flip * 2.8, 2.4))
    _rivet(easel, flip * 14.5, -7.2, 3.9)
    _rivet(easel, flip * 24.5, 24.0, 3.9)
    _button(easel, -flip * 16.0, -6.0, 8.2)


def _zip(easel: Easel, flip: int) -> None:
    x, canvas, color = -flip * 14.0, easel.canvas, _metal(easel)
    line = smooth([(x + 1, -48.0), (x, 0.0), (x - 1, 48.0)])
    canvas.stroke(line, mix(easel.base, BLACK, 0.7), 12.6)
    canvas.stroke(line, mix(easel.base, BLACK, 0.3) if not easel.dark else mix(easel.base, WHITE, 0.12), 11.6)
    canvas.stroke(line, (18, 18, 20), 5.4)
    canvas.stroke(line, mix(color, BLACK, 0.5), 5.0, dash=(2.0, 0.9))
    canvas.stroke(line, mix(color, WHITE, 0.12), 4.2, dash=(1.6, 1.3))
    body = box(x - 4.6, -15.0, 9.2, 11.0, 2.6)
    _plate(easel, body, x, -15.0, -4.0)
    tab = box(x - 2.7, -6.5, 5.4, 20.0, 2.4)
    _plate(easel, tab, x, -6.5, 13.5)
    canvas.fill(ellipse(x, 9.6, 1.2, 1.6), mix(color, BLACK, 0.75))
    _rivet(easel, flip * 17.0, 12.0, 4.4)


def _plate(easel: Easel, path: Path, x: Number, top: Number, low: Number) -> None:
    color = _metal(easel)
    easel.canvas.fill(path.moved(0.8, 1.2), BLACK, 0.4)
    easel.canvas.linear(path, (x - 4, top), (x + 4, low),
                        [(0, mix(color, WHITE, 0.4), 1), (0.5, color, 1), (1, mix(color, BLACK, 0.35), 1)])  # fmt: skip
    easel.canvas.stroke(path, mix(color, BLACK, 0.65), 0.5)
    if easel["hardware"] == "wooden":
        _wood(easel, path, x, (top + low) / 2, (low - top) / 2)
