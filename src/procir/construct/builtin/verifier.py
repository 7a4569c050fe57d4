"""Stage 2 from attribute sheets: what captions say of left and right, held against the truth."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from procir.catalog.atelier.captions import wearers_side
from procir.catalog.atelier.garments import PLANS, Garment
from procir.catalog.atelier.lexicon import PHRASES, strip_article
from procir.construct.builtin.captioner import mirrored, sided
from procir.construct.builtin.faults import Faults, lot
from procir.construct.panorama import Bounds
from procir.construct.prompts.schemas import Box, CaptionAnalysis, ProductAnalysis
from procir.construct.questions import image_caption
from procir.types import ProductKey

_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_IN_IMAGE = re.compile(r"\b(left|right)(?: side)? of the image\b")
_SLANTED = re.compile(
    r"\bslanted(?: hem drops towards| and reaches lower on) the (?:left|right) of the image,.*\bwearer's (left|right)\b"
)
_OTHER = {"left": "right", "right": "left"}
_MISS = {"has_error": False, "reasoning": "The sides agree with the photos as far as they can be seen."}
_ALARM = {"has_error": True, "reasoning": "A feature seems to lie on the other side."}
_OUTWARD = ("front", "full")
"""Views on which the left of the image is the wearer's right."""

_ZONES: Mapping[str, tuple[float, float]] = {
    "armband": (0.30, 0.48),
    "chest": (0.24, 0.42),
    "hem": (0.72, 0.96),
    "back pockets": (0.28, 0.46),
    "knees": (0.58, 0.72),
    "slit": (0.62, 0.94),
}
"""About where features are: shares of a view's height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One product of a request: its place there, its sheet, the boxes of its views, and its captions by name."""

    index: int
    key: ProductKey
    garment: Garment
    boxes: tuple[Bounds, ...]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a caption says of a feature: its side of the wearer, and of the image if the sentence names one."""

    attribute: str
    side: str
    in_image: str | None


def analyse(told: Told, faults: Faults) -> ProductAnalysis:
    """The verdict on every caption of a product; wrong as often as the faults say."""
    views = {image_caption(number): view for number, view in enumerate(told.garment.views, start=1)}
    analyses = [_analyse_caption(name, text, views.get(name), told) for name, text in told.texts.items()]
    wrong = any(analysis.has_error for analysis in analyses)
    if wrong and lot(faults.seed, "miss", told.key) < faults.verifier_miss:
        analyses = [analysis.model_copy(update=_MISS) if analysis.has_error else analysis for analysis in analyses]
    if not wrong and lot(faults.seed, "alarm", told.key) < faults.verifier_false_alarm:
        analyses[-1] = analyses[-1].model_copy(update=_ALARM)  # the short caption: it speaks of no view
    return ProductAnalysis(product_index=told.index, product_id=str(told.key), caption_analyses=tuple(analyses))


def _analyse_caption(name: str, text: str, view: str | None, told: Told) -> CaptionAnalysis:
    if view == "side":
        return CaptionAnalysis(
            caption_name=name, bounding_boxes=(), reasoning="Side view, passed over.", has_error=False
        )
    boxes, reasons, wrong = [], [], False
    for claim in _claims(text, told.garment):
        error = _is_wrong(claim, view, told.garment)
        boxes += _boxes(claim.attribute, view, told)
        reasons.append(_reason(claim, told.garment, wrong=error))
        wrong = wrong or error
    reasoning = " ".join(reasons) or "The caption names no side of a feature."
    return CaptionAnalysis(caption_name=name, bounding_boxes=tuple(boxes), reasoning=reasoning, has_error=wrong)


def _claims(text: str, garment: Garment) -> Iterator[_Claim]:
    """What the text says of the features that the garment has on one side, sentence by sentence."""
    features = sided(garment)
    for sentence in _SENTENCES.split(text.lower()):
        if "left" not in sentence and "right" not in sentence:
            continue
        found = _IN_IMAGE.search(sentence)
        for attribute in features:
            for value in (garment[attribute], mirrored(garment[attribute])):
                if _says(sentence, attribute, value):
                    side = wearers_side(value)
                    assert side, value
                    yield _Claim(attribute=attribute, side=side, in_image=found[1] if found else None)


def _says(sentence: str, attribute: str, value: str) -> bool:
    if any(phrase in sentence for phrase in _phrases(attribute, value)):
        return True
    slanted = _SLANTED.search(sentence) if attribute == "hem" else None
    return slanted is not None and slanted[1] == wearers_side(value)


@cache
def _phrases(attribute: str, value: str) -> tuple[str, ...]:
    found = PHRASES[attribute][value]
    return tuple(strip_article(phrase).lower() for phrase in (*found.full, *found.bare, *found.compact))


def _is_wrong(claim: _Claim, view: str | None, garment: Garment) -> bool:
    truth = wearers_side(garment[claim.attribute])
    assert truth, claim
    if claim.side != truth:
        return True
    return view is not None and claim.in_image is not None and claim.in_image != _side_in_image(truth, view)


def _side_in_image(side: str, view: str) -> str:
    return _OTHER[side] if view in _OUTWARD else side


def _reason(claim: _Claim, garment: Garment, *, wrong: bool) -> str:
    truth = wearers_side(garment[claim.attribute])
    verdict = "which is wrong" if wrong else "which is right"
    image = f" and on the {claim.in_image} of the image" if claim.in_image else ""
    return (
        f"{claim.attribute}: the photos show it on the wearer's {truth}; the caption puts it on the wearer's "
        f"{claim.side}{image}, {verdict}."
    )


def _boxes(attribute: str, view: str | None, told: Told) -> list[Box]:
    """Where the feature is in the photo that the caption is about, or in the first that shows it."""
    shown = next(found for found in PLANS[told.garment.group.plan] if found.name == attribute).views - {"side"}
    numbers = [i for i, name in enumerate(told.garment.views) if name in shown and view in (None, name)]
    return [_box(attribute, told.garment, told.garment.views[i], told.boxes[i]) for i in numbers[:1]]


def _box(attribute: str, garment: Garment, view: str, place: Bounds) -> Box:
    side = wearers_side(garment[attribute])
    assert side, attribute
    in_image = _side_in_image(side, view)
    start, end = (0.16, 0.5) if in_image == "left" else (0.5, 0.84)
    top, bottom = _ZONES[attribute]
    left, width, upper, height = place[0], place[2] - place[0], place[1], place[3] - place[1]
    x = _span(left + start * width, left + end * width)
    y = _span(upper + top * height, upper + bottom * height)
    return Box(element=attribute, bbox=(x[0], y[0], x[1], y[1]), position_in_image=f"{in_image} half of the photo")


def _span(start: float, end: float) -> Sequence[int]:
    """Whole numbers about the ends, never the same one twice."""
    return int(start), max(int(start) + 1, round(end))
