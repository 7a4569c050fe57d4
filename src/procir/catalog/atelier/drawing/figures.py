"""The bodies that garments are cut for, in units of which a body is 200 tall; x = 0 is the middle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from procir.catalog.atelier.drawing.paths import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Half widths and heights of a body; y grows downward from the crown."""

    neck: Number
    neck_y: Number = 33.0
    shoulder: Number
    shoulder_y: Number
    armpit: Number
    armpit_y: Number
    outline: tuple[tuple[Number, Number], ...]
    """(y, half width) of the trunk from the armpit to the crotch."""
    depth: Number
    """Half depth of the chest seen from the side."""
    crotch_y: Number = 108.0
    waist_y: Number = 80.0

    def half_width(self, y: Number) -> Number:
        """Half width of the trunk at a height."""
        ys, widths = zip(*self.outline, strict=True)
        return float(np.interp(y, ys, widths))

    def shoulder_line(self, x: Number) -> Number:
        """Height of the shoulder at a distance from the middle."""
        start = self.neck + 1.0
        share = (abs(x) - start) / (self.shoulder - start)
        return self.neck_y + (self.shoulder_y - self.neck_y) * share


FIGURES: Mapping[str, Figure] = {
    "women": Figure(
        neck=5.6,
        shoulder=19.5,
        shoulder_y=40.0,
        armpit=16.5,
        armpit_y=56.0,
        outline=((40, 16.0), (56, 16.5), (64, 16.2), (78, 12.6), (84, 14.2), (98, 18.6), (106, 19.2), (130, 19.0)),
        depth=10.5,
    ),
    "men": Figure(
        neck=6.8,
        shoulder=24.0,
        shoulder_y=40.5,
        armpit=20.0,
        armpit_y=58.0,
        outline=((40, 19.5), (58, 20.0), (66, 19.6), (80, 17.2), (88, 17.6), (100, 18.6), (108, 18.8), (130, 18.6)),
        depth=11.5,
    ),
}
