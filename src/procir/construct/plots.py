"""A data set's distributions as pictures: views of a product, and words of each kind of text (paper, figures 4, 5)."""

from __future__ import annotations

import io
from math import ceil
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from procir.construct.statistics import KINDS, Histogram, Statistics
from procir.errors import DataError

_INK, _MUTED, _LINE, _BAR, _MARK = "#1d1b18", "#67625a", "#e5e1d9", "#7fae97", "#b3661b"
_DPI = 160
_BINS = 40
_TAIL = 0.001
"""Share of the texts at either end that may lie outside of the picture, so that one long text does not flatten it."""

_PARAMETERS: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _MUTED,
    "axes.titlesize": 10,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "text.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "text.parse_math": False,
}


def views_picture(statistics: Statistics) -> bytes:
    """PNG of how many products have how many views, one panel a dataset. Raises DataError without a product."""
    panels = {dataset: histogram for dataset, histogram in statistics.views.items() if histogram.total}
    if not panels:
        raise DataError("the data set has no product, hence no picture of views: build or read a catalogue first")
    numbers = range(1, max(number for histogram in panels.values() for number, _ in histogram.counts) + 1)
    highest = max(count / histogram.total for histogram in panels.values() for _, count in histogram.counts)
    with mpl.rc_context(_PARAMETERS):
        columns = min(4, len(panels))
        figure, axes = _grid(len(panels), columns, width=max(2.2, 0.42 * len(numbers)), height=2.4)
        for panel, (dataset, histogram) in zip(axes, panels.items(), strict=True):
            _draw_views(panel, histogram, numbers)
            panel.set_title(f"{dataset}\n{histogram.total:,} products", linespacing=1.5)
            panel.set_ylim(0, 1.12 * highest)
        figure.supxlabel("views of a product", color=_MUTED, fontsize=9)
        return _png(figure)


def words_picture(statistics: Statistics) -> bytes:
    """PNG of words a text, a panel for each kind of text there is, medians marked. Raises DataError without a text."""
    panels = {kind: statistics.words_of(kind) for kind in KINDS}
    panels = {kind: histogram for kind, histogram in panels.items() if histogram.total}
    if not panels:
        raise DataError("the data set has no text, hence no picture of lengths: caption it first")
    with mpl.rc_context(_PARAMETERS):
        figure, axes = _grid(len(panels), min(3, len(panels)), width=2.9, height=2.3)
        for panel, (kind, histogram) in zip(axes, panels.items(), strict=True):
            _draw_words(panel, histogram)
            panel.set_title(f"{kind[0].upper()}{kind[1:]}s\n{histogram.total:,} texts", linespacing=1.5)
        figure.supxlabel("words", color=_MUTED, fontsize=9)
        return _png(figure)


def _grid(panels: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with that many panels, in rows of `columns`; sizes are in inches a panel."""
    rows = ceil(panels / columns)
    figure = Figure(figsize=(width * columns + 0.3, height * rows + 0.3), dpi=_DPI, layout="constrained")
    grid = figure.add_gridspec(rows, columns, wspace=0.08, hspace=0.1)
    return figure, [figure.add_subplot(grid[place // columns, place % columns]) for place in range(panels)]


def _draw_views(axes: Axes, histogram: Histogram, numbers: range) -> None:
    counts = dict(histogram.counts)
    shares = [counts.get(number, 0) / histogram.total for number in numbers]
    bars = axes.bar(list(numbers), shares, width=0.72, color=_BAR)
    axes.bar_label(bars, [_share(share) for share in shares], padding=2, fontsize=8, color=_INK)
    axes.set_xticks(list(numbers))
    axes.set_yticks([])
    axes.tick_params(length=0)


def _share(share: float) -> str:
    if not share:
        return ""
    return f"{100 * share:.0f}%" if share >= 0.01 else "<1%"


def _draw_words(axes: Axes, histogram: Histogram) -> None:
    numbers, counts = (np.array(column) for column in zip(*histogram.counts, strict=True))
    first, last = (int(numbers[place]) for place in _bulk(counts))
    width = max(1, ceil((last - first + 1) / _BINS))
    # Edges halve the distance between whole numbers, so that every bin holds equally many of them.
    edges = np.arange(first, last + width + 1, width) - 0.5
    axes.hist(numbers, bins=edges.tolist(), weights=counts, color=_BAR, rwidth=0.9)
    axes.set_ylim(top=1.18 * axes.get_ylim()[1])
    _mark_median(axes, histogram)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _bulk(counts: np.ndarray) -> tuple[int, int]:
    """Places of the first and the last length that are shown."""
    before = np.cumsum(counts) / counts.sum()
    return int(np.searchsorted(before, _TAIL, side="right")), int(np.searchsorted(before, 1 - _TAIL))


def _mark_median(axes: Axes, histogram: Histogram) -> None:
    median = histogram.median
    assert median is not None
    axes.axvline(median, color=_MARK, linewidth=1.4)
    axes.annotate(
        f"median {median:g}", (median, 1), xycoords=("data", "axes fraction"), xytext=(4, -2),
        textcoords="offset points", va="top", fontsize=8, color=_MARK, fontweight="bold",
    )  # fmt: skip


def _thousands(value: float, _: int | None) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor="white", metadata={"Software": None})
    return file.getvalue()
