"""Line charts as inline SVG whose colours follow the page, in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SMOOTH_FROM = 60
"""A curve with at least this many points is also drawn as a running mean."""

# matplotlib needs colours; each of these stands for a CSS property of the page and is replaced in the SVG.
_INK, _MUTED, _LINE = "#010203", "#010204", "#010205"
_SERIES = ("#010211", "#010212", "#010213", "#010214")
_PROPERTIES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _LINE: "var(--line)",
    **{color: f"var(--series-{number})" for number, color in enumerate(_SERIES, 1)},
}
_STYLES = ("-", "--", ":", "-.")
_PARAMETERS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "text.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A quantity during training: one value for each step, NaN where there is none."""

    label: str
    steps: tuple[int | float, ...]
    values: tuple[int | float, ...]

    def __post_init__(self) -> None:
        assert len(self.steps) == len(self.values), f"{self.label}: {len(self.steps)} steps, {len(self.values)} values"


def line_chart(curves: Sequence[Curve], *, y_label: str, salt: str) -> str:
    """SVG of up to 4 curves over training steps; `salt` begins its ids, to keep them apart from other charts'."""
    assert 0 < len(curves) <= len(_SERIES), f"{len(curves)} curves for {len(_SERIES)} colours"
    with mpl.rc_context({**_PARAMETERS, "svg.hashsalt": salt}):
        figure = Figure(figsize=(5.6, 3.1), layout="constrained")
        axes = figure.subplots()
        for curve, color, style in zip(curves, _SERIES, _STYLES, strict=False):
            _draw(axes, curve, color, style)
        _dress(axes, y_label, legend=len(curves) > 1)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(file.getvalue(), salt)


def running_mean(values: Float[np.ndarray, " steps"], width: int) -> Float[np.ndarray, " steps"]:
    """Mean over `width` (odd) values around each step, over fewer at both ends; NaN counts for nothing."""
    known = np.isfinite(values)
    window = np.ones(width)
    sums = np.convolve(np.where(known, values, 0.0), window, mode="same")
    counts = np.convolve(known.astype(float), window, mode="same")
    return np.asarray(np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0))


def smoothing_width(points: int) -> int:
    """Points in the running mean of a curve, an odd number: 1 (no smoothing) if short, about a 25th if long."""
    return points // 50 * 2 + 1 if points >= SMOOTH_FROM else 1


def _draw(axes: Axes, curve: Curve, color: str, style: str) -> None:
    width = smoothing_width(len(curve.values))
    values = np.asarray(curve.values, dtype=float)
    marker = "o" if len(values) <= 12 else ""
    if width > 1:
        axes.plot(curve.steps, values, color=color, linewidth=0.7, alpha=0.35)
        values, style = running_mean(values, width), "-"
    axes.plot(curve.steps, values, color=color, linewidth=1.8, linestyle=style, marker=marker, ms=4, label=curve.label)


def _dress(axes: Axes, y_label: str, legend: bool) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel(y_label)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    if legend:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, borderaxespad=0.2)


def _for_page(svg: str, salt: str) -> str:
    """The SVG element alone, scalable, in the page's colours, and without addresses of any kind."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", body)
    body = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", body, count=1)
    body = body.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    for color, css in _PROPERTIES.items():
        body = body.replace(color, css)
    # Two charts of one page must not share an id.
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{salt}-", body)
    return body.replace("xlink:href", "href").strip()
