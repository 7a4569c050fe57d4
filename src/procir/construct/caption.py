"""Stage 1: captions of every product from all its views (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from procir.annotators.pictures import file_picture
from procir.annotators.request import Request
from procir.annotators.run import Annotator
from procir.construct.material import Captioned, Material, materials
from procir.construct.prompts.schemas import CaptionAnswer
from procir.construct.questions import CAPTION, caption_question, caption_schema
from procir.construct.work import Work
from procir.types import Product, ProductKey


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionResult:
    """The captioned products, and those that are none of the domain, such as shoes among clothing."""

    captioned: Captioned
    outside: tuple[ProductKey, ...]


async def caption(work: Work, annotator: Annotator, products: Mapping[ProductKey, Product], side: int) -> CaptionResult:
    """Ask for the captions of every product, with pictures of at most `side` pixels."""
    named = {str(key): key for key in products}
    keys: dict[ProductKey, str] = {}
    outside = []
    questions = caption_questions(work, products, side)
    async with aclosing(work.outcomes(CAPTION, annotator, questions, len(products))) as outcomes:
        async for outcome in outcomes:
            product = named[outcome.request.item]
            if outcome.answer is None:
                work.failures.append(outcome.failure)
            elif outcome.answer.belongs:
                keys[product] = outcome.key
            else:
                outside.append(product)
    captioned = Captioned(work.ledger, products, keys, caption_schema(work.domain.member))
    return CaptionResult(captioned=captioned, outside=tuple(sorted(outside)))


def caption_questions(
    work: Work, products: Mapping[ProductKey, Product], side: int
) -> Iterator[Request[CaptionAnswer]]:
    """One question a product, in key order."""
    ordered = (products[key] for key in sorted(products))
    return (_question(work, found, side) for found in materials(work.ledger, ordered, work.skip(CAPTION)))


def _question(work: Work, material: Material, side: int) -> Request[CaptionAnswer]:
    views = zip(material.product.views, material.views, strict=True)
    photos = [file_picture(view.path, seen.digest, side) for view, seen in views]
    return caption_question(material.product.key, photos, work.domain)
