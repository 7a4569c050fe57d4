"""How well stage 2 finds confusions of left and right, measured against people's labels (paper, section 3.3)."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from procir.construct.verdicts import Verdict
from procir.errors import MissingDataError, RecordError
from procir.records import product_key, read_jsonl, text
from procir.types import ProductKey

Label = Literal["fine", "left_right", "severe"]
"""What a person says of a product's captions: right, left and right confused, or grossly wrong otherwise."""

SAMPLE = 1000
"""Products that the paper's people labelled."""

_Z = 1.959964
_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A share in [0, 1] with its 95 % confidence interval; None where nothing was counted."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "nothing to count"
        return f"{100 * self.value:.1f} % (95 %: {100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The verifier against labels of left/right errors, and how often people found which errors."""

    labelled: int
    hits: int
    false_alarms: int
    misses: int
    precision: Interval
    recall: Interval
    f1: Interval
    left_right: Interval
    severe: Interval
    """Severe errors of any kind, those of left and right among them, as the paper counts."""


def draw_sample(keys: Iterable[ProductKey], count: int, seed: int) -> tuple[ProductKey, ...]:
    """`count` products by the lowest hashes of seed and key: others that come or go change few of them."""
    lots = {key: sha256(f"audit\0{seed}\0{key}".encode()).digest() for key in keys}
    return tuple(sorted(lots, key=lots.__getitem__)[:count])


def add_label(path: Path, key: ProductKey, label: Label) -> None:
    """Append a label, on the disk when this returns; the last one of a product counts."""
    line = json.dumps({"dataset": key.dataset, "product_id": key.product_id, "label": label}) + "\n"
    with path.open("ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_labels(path: Path) -> dict[ProductKey, Label]:
    """The last label of each product; nothing without the file. Raises RecordError for other lines."""
    labels: dict[ProductKey, Label] = {}
    for number, row in read_jsonl(path) if path.is_file() else ():
        where = f"{path}:{number}"
        label = text(row, "label", where)
        if label not in get_args(Label):
            raise RecordError(f"{where}: label {label!r} is none of {', '.join(get_args(Label))}; correct the line")
        labels[product_key(row, where)] = label  # type: ignore[assignment]
    return labels


def score(verdicts: Iterable[Verdict], labels: Mapping[ProductKey, Label], *, seed: int = 0) -> Score:
    """The verifier's verdicts against labels, over the products that have both.

    Intervals of shares are Wilson's, that of F1 is a seeded bootstrap over products. Raises MissingDataError if no
    labelled product has a verdict.
    """
    cells = Counter((verdict.has_error, labels[verdict.key]) for verdict in verdicts if verdict.key in labels)
    total = cells.total()
    if not total:
        raise MissingDataError("no labelled product has a verdict: label products of this construction first")
    hits, wrong = cells[True, "left_right"], sum(cells[flag, "left_right"] for flag in (True, False))
    flagged = sum(cells[True, label] for label in get_args(Label))
    severe = sum(cells[flag, "severe"] for flag in (True, False))
    return Score(
        labelled=total,
        hits=hits,
        false_alarms=flagged - hits,
        misses=wrong - hits,
        precision=wilson(hits, flagged),
        recall=wilson(hits, wrong),
        f1=_f1(hits, flagged - hits, wrong - hits, total, seed),
        left_right=wilson(wrong, total),
        severe=wilson(wrong + severe, total),
    )


def wilson(count: int, total: int) -> Interval:
    """A share with Wilson's interval."""
    if not total:
        return Interval(value=None, low=None, high=None)
    share, spread = count / total, _Z**2 / total
    center = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return Interval(
        value=share, low=0.0 if count == 0 else center - half, high=1.0 if count == total else center + half
    )


def _f1(hits: int, false_alarms: int, misses: int, total: int, seed: int) -> Interval:
    if not hits + false_alarms + misses:
        return Interval(value=None, low=None, high=None)
    shares = np.array([hits, false_alarms, misses, total - hits - false_alarms - misses]) / total
    drawn = np.random.default_rng(seed).multinomial(total, shares, size=_RESAMPLES)
    parts = 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2]
    values = np.divide(2 * drawn[:, 0], parts, out=np.zeros(_RESAMPLES), where=parts > 0)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(value=2 * hits / (2 * hits + false_alarms + misses), low=float(low), high=float(high))


def describe(found: Score) -> Sequence[tuple[str, str]]:
    """Names and values of a score, beside the paper's."""
    return (
        ("labelled products", f"{found.labelled:,} (paper: 1,000)"),
        ("severe errors, left/right among them", f"{found.severe} (paper: 6.2 %)"),
        ("left/right errors", f"{found.left_right} (paper: 5.0 %)"),
        ("found, missed, false alarms", f"{found.hits:,}, {found.misses:,}, {found.false_alarms:,}"),
        ("precision", f"{found.precision} (paper: 42.9 %)"),
        ("recall", f"{found.recall} (paper: 36.0 %)"),
        ("F1", f"{found.f1}"),
    )
