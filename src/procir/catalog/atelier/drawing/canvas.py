"""Anti-aliased painting of paths, gradients and images into a pixel buffer, by ThorVG's software rasteriser."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import UInt32
from thorvg_python.engine import Engine

from procir.catalog.atelier.drawing.paths import Number, Path

Color = tuple[int, int, int]
Stop = tuple[Number, Color, Number]
"""Offset in [0, 1], colour, opacity in [0, 1]."""
Matrix = tuple[Number, Number, Number, Number, Number, Number]
"""(a, b, c, d, e, f) maps (x, y) to (a x + b y + c, d x + e y + f)."""

_RGBA_PREMULTIPLIED = 0
_ROUND, _BUTT = 1, 0


_CELLS = ("e11", "e12", "e13", "e21", "e22", "e23", "e31", "e32", "e33")


class _Matrix(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in _CELLS]


class _Stop(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_float), *((name, ctypes.c_uint8) for name in "rgba")]


_SIGNATURES = {
    "swcanvas_create": "i:p",
    "swcanvas_set_target": "ppuuui:i",
    "canvas_add": "pp:i",
    "canvas_draw": "p?:i",
    "canvas_sync": "p:i",
    "canvas_destroy": "p:i",
    "scene_new": ":p",
    "scene_add": "pp:i",
    "shape_new": ":p",
    "shape_append_path": "ppupu:i",
    "shape_set_fill_color": "pbbbb:i",
    "shape_set_gradient": "pp:i",
    "shape_set_stroke_width": "pf:i",
    "shape_set_stroke_color": "pbbbb:i",
    "paint_set_opacity": "pb:i",
    "shape_set_stroke_cap": "pi:i",
    "shape_set_stroke_join": "pi:i",
    "shape_set_stroke_dash": "ppuf:i",
    "linear_gradient_new": ":p",
    "linear_gradient_set": "pffff:i",
    "radial_gradient_new": ":p",
    "radial_gradient_set": "pffffff:i",
    "gradient_set_color_stops": "ppu:i",
    "picture_new": ":p",
    "picture_load_raw": "ppuui?:i",
    "paint_set_clip": "pp:i",
    "paint_set_transform": "pp:i",
}
_TYPES = {
    "p": ctypes.c_void_p,
    "u": ctypes.c_uint32,
    "i": ctypes.c_int,
    "f": ctypes.c_float,
    "b": ctypes.c_uint8,
    "?": ctypes.c_bool,
}


@cache
def _engine() -> tuple[Engine, dict[str, Any]]:
    """The rasteriser without worker threads, with its functions typed once instead of at every call."""
    engine = Engine(threads=0)
    functions = {}
    for name, signature in _SIGNATURES.items():
        arguments, result = signature.split(":")
        prototype = ctypes.CFUNCTYPE(_TYPES[result], *(_TYPES[letter] for letter in arguments))
        functions[name] = prototype((f"tvg_{name}", engine.thorvg_lib))
    return engine, functions


class Canvas:
    """A square, transparent picture to paint on in the units of a drawing.

    Everything painted belongs to the rasteriser until `pixels` draws it and frees it; use it once, from one thread.
    """

    def __init__(self, size: int, matrix: Matrix) -> None:
        self.size = size
        self.pixel = 1.0 / float(np.hypot(matrix[0], matrix[3]))
        """Length of one pixel in drawing units."""
        self._do = _engine()[1]
        self._canvas = self._do["swcanvas_create"](0)
        self._scenes = [self._do["scene_new"]()]
        self._transform(self._scenes[0], matrix)
        self._call("canvas_add", self._canvas, self._scenes[0])
        self._images: list[UInt32[np.ndarray, "h w"]] = []

    def _call(self, name: str, *arguments: Any) -> None:
        result = self._do[name](*arguments)
        assert result == 0, f"ThorVG: {name} returned {result}"

    def _transform(self, paint: int, matrix: Matrix) -> None:
        self._call("paint_set_transform", paint, ctypes.byref(_Matrix(*matrix, 0.0, 0.0, 1.0)))

    def _shape(self, path: Path) -> int:
        shape: int = self._do["shape_new"]()
        commands, points = bytes(path.commands), path.points
        self._call("shape_append_path", shape, commands, len(commands), points.buffer_info()[0], len(points) // 2)
        return shape

    def _add(self, paint: int) -> None:
        self._call("scene_add", self._scenes[-1], paint)

    def fill(self, path: Path, color: Color, alpha: Number = 1.0) -> None:
        """Fill a path with a colour."""
        shape = self._shape(path)
        self._call("shape_set_fill_color", shape, *color, round(alpha * 255))
        self._add(shape)

    def stroke(
        self,
        path: Path,
        color: Color,
        width: Number,
        alpha: Number = 1.0,
        dash: Sequence[Number] = (),
        flat: bool = False,
    ) -> None:
        """Draw along a path; a dash lists lengths of line and gap in turn; flat ends stop at the end point."""
        shape = self._shape(path)
        self._call("shape_set_stroke_width", shape, width)
        self._call("shape_set_stroke_color", shape, *color, round(alpha * 255))
        self._call("shape_set_stroke_cap", shape, _BUTT if flat or dash else _ROUND)
        self._call("shape_set_stroke_join", shape, 1)
        if dash:
            lengths = (ctypes.c_float * len(dash))(*dash)
            self._call("shape_set_stroke_dash", shape, ctypes.addressof(lengths), len(dash), 0.0)
        self._add(shape)

    def linear(
        self, path: Path, start: tuple[Number, Number], end: tuple[Number, Number], stops: Sequence[Stop]
    ) -> None:
        """Fill a path with colours that change from one point to another."""
        gradient = self._do["linear_gradient_new"]()
        self._call("linear_gradient_set", gradient, *start, *end)
        self._gradient(path, gradient, stops)

    def radial(self, path: Path, centre: tuple[Number, Number], radius: Number, stops: Sequence[Stop]) -> None:
        """Fill a path with colours that change from a centre outward."""
        gradient = self._do["radial_gradient_new"]()
        self._call("radial_gradient_set", gradient, *centre, radius, *centre, 0.0)
        self._gradient(path, gradient, stops)

    def _gradient(self, path: Path, gradient: int, stops: Sequence[Stop]) -> None:
        records = (_Stop * len(stops))(*(_Stop(at, *color, round(alpha * 255)) for at, color, alpha in stops))
        self._call("gradient_set_color_stops", gradient, ctypes.addressof(records), len(stops))
        shape = self._shape(path)
        self._call("shape_set_gradient", shape, gradient)
        self._add(shape)

    def image(self, pixels: UInt32[np.ndarray, "h w"], matrix: Matrix, alpha: Number = 1.0) -> None:
        """Paint an image of premultiplied RGBA pixels; the matrix maps its pixels to drawing units."""
        picture = self._do["picture_new"]()
        height, width = pixels.shape
        self._images.append(pixels)
        self._call("picture_load_raw", picture, pixels.ctypes.data, width, height, _RGBA_PREMULTIPLIED, False)
        self._transform(picture, matrix)
        self._call("paint_set_opacity", picture, round(alpha * 255))
        self._add(picture)

    @contextmanager
    def clipped(self, path: Path) -> Iterator[None]:
        """Paint only inside a path."""
        scene = self._do["scene_new"]()
        self._call("paint_set_clip", scene, self._shape(path))
        self._add(scene)
        self._scenes.append(scene)
        try:
            yield
        finally:
            self._scenes.pop()

    def pixels(self) -> UInt32[np.ndarray, "size size"]:
        """Draw everything; premultiplied RGBA. The canvas is used up."""
        buffer = np.zeros((self.size, self.size), np.uint32)
        target = (self._canvas, buffer.ctypes.data, self.size, self.size, self.size, _RGBA_PREMULTIPLIED)
        self._call("swcanvas_set_target", *target)
        self._call("canvas_draw", self._canvas, True)
        self._call("canvas_sync", self._canvas)
        self._call("canvas_destroy", self._canvas)
        self._images.clear()
        return buffer
