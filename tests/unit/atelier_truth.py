"""An independent reading of texts: which words a value must leave in a text that names it."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from procir.catalog.atelier.garments import GROUPS, Garment, attributes, visible
from procir.catalog.atelier.sampling import contrasts

NEUTRAL = {"none", "plain"}
_SPECIAL = {
    "both ripped": ("rips", "both"),
    "left rip": ("rip", "left"),
    "right rip": ("rip", "right"),
    "full buttons": ("full", "button"),
    "flat band": ("flat", "waistband"),
    "v yoke": ("V", "yoke"),
    "a-line": ("A-line",),
    "v-neck": ("V-neck",),
    "slanted left": ("slant", "left"),
    "slanted right": ("slant", "right"),
    "panels": ("knee panels",),
}


def names(text: str, attribute: str, value: str) -> bool:
    """Whether all words of the value are in the text; `two` may be a pair, endings may differ."""
    words = _SPECIAL.get(value) or tuple(value.split())
    if attribute == "pattern" and value == "solid":
        words = ("solid",) if "no print" not in text else ("no print",)
    return all(_has(text, word) for word in words)


def _has(text: str, word: str) -> bool:
    stem = word[:-1] if word.endswith("s") and len(word) > 4 else word
    pattern = r"\b(two|pair)\b" if word == "two" else rf"\b{re.escape(stem)}"
    return re.search(pattern, text, re.IGNORECASE) is not None


def every_value() -> set[tuple[str, str]]:
    return {(a.name, value) for group in GROUPS for a in attributes(group) for value in a.values}


def sheet(garment: Garment) -> dict[str, str]:
    """What the photos show, worked out from the garment's sheet by hand."""
    shown = {}
    for attribute in attributes(garment.group):
        if not any(view in attribute.views for view in garment.views):
            continue
        if attribute.name in ("cuffs", "armband") and garment["sleeves"] == "sleeveless":
            continue
        if attribute.name == "accent" and garment["pattern"] == "solid":
            continue
        shown[attribute.name] = garment[attribute.name]
    return shown


def vary(garment: Garment, rng: Random, changes: int) -> Garment:
    """The garment with other values in up to `changes` of the attributes that it shows."""
    values = dict(garment.values)
    allowed = {a.name: a.values for a in attributes(garment.group) if a.name in visible(garment)}
    for name in rng.sample(sorted(allowed), min(changes, len(allowed))):
        others = [value for value in allowed[name] if value != values[name]]
        if name == "accent":
            others = [value for value in others if contrasts(values["color"], value)]
        if others:
            values[name] = rng.choice(others)
    return replace(garment, values=values)
