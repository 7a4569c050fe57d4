"""Stage 1 from attribute sheets: captions, some of which confuse left and right as told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from procir.catalog.atelier.captions import describe, wearers_side
from procir.catalog.atelier.garments import Garment, visible
from procir.construct.builtin.faults import lot
from procir.construct.prompts.schemas import CaptionAnswer
from procir.construct.questions import caption_schema
from procir.types import ProductKey

MEMBER = "is_clothing"
"""The only domain to which drawn garments belong."""

_OTHER = {"left": "right", "right": "left"}


def sided(garment: Garment) -> tuple[str, ...]:
    """The attributes that stand on one side of the wearer and show, in drawing order."""
    return tuple(name for name, value in visible(garment).items() if wearers_side(value))


def mirrored(value: str) -> str:
    """The value with left for right and right for left."""
    return re.sub(r"\b(left|right)\b", lambda found: _OTHER[found[1]], value)


def planted(sheets: Mapping[ProductKey, Garment], seed: int, rate: float) -> frozenset[ProductKey]:
    """The products whose captions put a feature on the wrong side: a share of those that have a feature on one side."""
    return frozenset(key for key, garment in sheets.items() if sided(garment) and lot(seed, "planted", key) < rate)


def seen(key: ProductKey, garment: Garment, seed: int, rate: float) -> Garment:
    """The garment as the captions tell it: as it is, or with one of its features on the other side."""
    features = sided(garment)
    if not features or lot(seed, "planted", key) >= rate:
        return garment
    name = features[int(lot(seed, "feature", key) * len(features))]
    return replace(garment, values={**garment.values, name: mirrored(garment[name])})


def answer_captions(key: ProductKey, garment: Garment, member: str, seed: int, rate: float) -> CaptionAnswer:
    """The captions of a product, with the share `rate` of errors; nothing for domains of other things than clothing."""
    schema = caption_schema(member)
    if member != MEMBER:
        content: dict[str, object] = {"image_captions": (), "long_caption": "", "short_caption": ""}
    else:
        caption = describe(key, seen(key, garment, seed, rate))
        content = {
            "image_captions": caption.images,
            "long_caption": caption.long,
            "short_caption": caption.short,
        }
    return schema.model_validate({member: member == MEMBER} | content)
