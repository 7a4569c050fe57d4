"""The questions of the three stages, from a product to a request (paper, appendix A).

Whatever comes from a catalogue or from an earlier answer goes through `procir.annotators.request.data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from procir.annotators.request import Picture, Request, data
from procir.catalog.conversations import image_label
from procir.construct.checks import check_captions, check_selections, check_verification
from procir.construct.domain import Domain
from procir.construct.panorama import Panorama
from procir.construct.prompts.schemas import CaptionAnswer, TripletAnswer, VerificationAnswer, caption_answer
from procir.types import Caption, ProductKey

CAPTION, VERIFY, TRIPLETS = "caption", "verify", "triplets"
"""Names of the stages."""

BATCH = 5
"""Most products in one request of stage 2 (paper, section A.2)."""

CANDIDATES = 10
"""Most candidates in one request of stage 3 (paper, section 3.4)."""

LONG, SHORT = "long_caption", "short_caption"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A product as stages 2 and 3 see it: its captions, one text a view, and its stitched picture."""

    caption: Caption
    panorama: Panorama

    def __post_init__(self) -> None:
        assert len(self.caption.images) == len(self.panorama.boxes), self.caption.key

    @property
    def texts(self) -> dict[str, str]:
        """Every caption by its name: image_caption_1 and so on, long_caption, short_caption."""
        images = {image_caption(number): text for number, text in enumerate(self.caption.images, start=1)}
        return images | {LONG: self.caption.long, SHORT: self.caption.short}


def image_caption(number: int) -> str:
    """The name of the caption of a photo; numbers count from 1."""
    return f"image_caption_{number}"


def candidate_label(number: int) -> str:
    """What stands before a candidate; numbers count from 1."""
    return f"[Product {number}]"


def caption_question(key: ProductKey, photos: Sequence[Picture], domain: Domain) -> Request[CaptionAnswer]:
    """Stage 1: what a product is; one picture a view, in view order."""
    parts: list[str | Picture] = [data({"product_id": str(key), "images": len(photos)})]
    labels = [image_label(number) for number in range(1, len(photos) + 1)]
    for label, photo in zip(labels, photos, strict=True):
        parts += [label, photo]
    return Request(
        stage=CAPTION,
        item=str(key),
        system=domain.caption,
        parts=tuple(parts),
        schema=caption_schema(domain.member),
        check=partial(check_captions, labels=labels),
    )


@cache
def caption_schema(member: str) -> type[CaptionAnswer]:
    """The schema of stage 1 in a domain, by the name of its member field; the same one each time."""
    return caption_answer(member)


def verification_question(products: Sequence[Described], domain: Domain) -> Request[VerificationAnswer]:
    """Stage 2: which captions of up to `BATCH` products confuse left and right."""
    asked = {str(product.caption.key): tuple(product.texts) for product in products}
    assert 0 < len(asked) == len(products) <= BATCH, [product.caption.key for product in products]
    parts: list[str | Picture] = []
    for index, product in enumerate(products, start=1):
        parts += [data(_claims(index, product)), product.panorama.picture]
    return Request(
        stage=VERIFY,
        item=", ".join(asked),
        system=domain.verify,
        parts=tuple(parts),
        schema=VerificationAnswer,
        check=partial(check_verification, asked=asked),
    )


def _claims(index: int, product: Described) -> dict[str, Any]:
    boxes = enumerate(product.panorama.boxes, start=1)
    return {
        "product_index": index,
        "product_id": str(product.caption.key),
        "views": [{"name": image_caption(number), "box": list(box)} for number, box in boxes],
        **product.texts,
    }


def triplet_question(source: Described, candidates: Sequence[Described], domain: Domain) -> Request[TripletAnswer]:
    """Stage 3: which of up to `CANDIDATES` candidates make targets of the source, and the texts that lead there."""
    assert 0 < len(candidates) <= CANDIDATES, len(candidates)
    parts: list[str | Picture] = [data({"source": _facts(source)}), source.panorama.picture]
    for number, candidate in enumerate(candidates, start=1):
        parts += [candidate_label(number), data(_facts(candidate)), candidate.panorama.picture]
    return Request(
        stage=TRIPLETS,
        item=str(source.caption.key),
        system=domain.triplets,
        parts=tuple(parts),
        schema=TripletAnswer,
        check=partial(check_selections, candidates=len(candidates), views=domain.views),
    )


def _facts(product: Described) -> dict[str, Any]:
    caption = product.caption
    return {
        "product_id": str(caption.key),
        "image_captions": list(caption.images),
        "long_caption": caption.long,
    }
