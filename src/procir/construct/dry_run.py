"""What a construction would use, before a single question is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from procir.annotators.budget import Estimate, estimate
from procir.annotators.filing import Filing
from procir.annotators.run import decided
from procir.annotators.settings import AnnotatorSettings
from procir.catalog.conversations import image_label
from procir.catalog.products import Stock
from procir.construct.caption import caption_questions
from procir.construct.material import materials
from procir.construct.questions import (
    BATCH,
    CANDIDATES,
    CAPTION,
    TRIPLETS,
    VERIFY,
    Described,
    triplet_question,
    verification_question,
)
from procir.construct.work import Work
from procir.errors import DataError
from procir.pieces import pieces
from procir.types import Caption, ProductKey

SAMPLE = 200
"""Products whose questions of stages 2 and 3 are looked at; the rest is taken to be like them."""

WORDS = {"image": 115, "long": 220, "short": 39}
"""Mean words of captions that are not written yet (paper, table 5)."""


def expected_use(work: Work, settings: Mapping[str, AnnotatorSettings], stock: Stock, side: int) -> dict[str, Estimate]:
    """What each stage would use at most: stage 1 without what is answered, stages 2 and 3 for all products.

    Captions of usual length stand for those not written yet. Products whose pictures cannot be opened are noted as
    failures.
    """
    questions = decided(Filing(settings[CAPTION], work.ledger), caption_questions(work, stock.products, side))
    new = (question for question, _, decision in questions if decision is None)
    first = estimate(new, settings[CAPTION], work.skip(CAPTION))
    keys = sorted(stock.products)
    sample = list(_placeholders(work, stock, keys[:: -(-len(keys) // SAMPLE)]))
    batches = [verification_question(batch, work.domain) for batch in pieces(sample, BATCH)]
    second = _scaled(estimate(batches, settings[VERIFY]), -(-len(keys) // BATCH), settings[VERIFY])
    sources = (triplet_question(source, [source] * CANDIDATES, work.domain) for source in sample)
    third = _scaled(estimate(sources, settings[TRIPLETS]), len(keys), settings[TRIPLETS])
    return {CAPTION: first, VERIFY: second, TRIPLETS: third}


def _placeholders(work: Work, stock: Stock, keys: Sequence[ProductKey]) -> Iterator[Described]:
    for material in materials(work.ledger, (stock.products[key] for key in keys), work.skip(CAPTION)):
        views = material.product.views
        texts = {name: "word " * count for name, count in WORDS.items()}
        images = tuple(f"{image_label(number)} {texts['image']}" for number in range(1, len(views) + 1))
        caption = Caption(material.product.key, texts["long"], texts["short"], images)
        with suppress(DataError):  # noted with its caption's question
            yield Described(caption=caption, panorama=material.panorama())


def _scaled(found: Estimate, questions: int, settings: AnnotatorSettings) -> Estimate:
    if not found.requests:
        return found
    inputs = round(found.input_tokens * questions / found.requests)
    output = questions * settings.max_tokens
    return replace(
        found, requests=questions, input_tokens=inputs, output_tokens=output, dollars=settings.dollars(inputs, output)
    )
