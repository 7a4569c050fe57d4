"""Whether an answer fits its question, in words that the annotator can act on; and how long texts came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from procir.catalog.atelier.captions import IMAGE_WORDS, LONG_WORDS, SHORT_WORDS
from procir.catalog.atelier.lexicon import count_words
from procir.catalog.atelier.modifications import LONG_WORDS as LONG_MODIFICATION_WORDS
from procir.catalog.atelier.modifications import SHORT_WORDS as SHORT_MODIFICATION_WORDS
from procir.construct.prompts.schemas import (
    Box,
    CaptionAnswer,
    ProductAnalysis,
    Selection,
    TripletAnswer,
    VerificationAnswer,
)
from procir.errors import AnswerError
from procir.types import Caption, Triplet

TARGETS = 2
"""Most targets of one source (paper, section 3.4)."""

VIEWS = 2
"""Fewest views that a modification must involve (paper, section 3.4)."""

RANGES: Mapping[str, range] = {
    "image caption": IMAGE_WORDS,
    "long caption": LONG_WORDS,
    "short caption": SHORT_WORDS,
    "long modification": LONG_MODIFICATION_WORDS,
    "short modification": SHORT_MODIFICATION_WORDS,
}
"""Words of each kind of text that the prompts ask for."""


def check_captions(answer: CaptionAnswer, labels: Sequence[str]) -> None:
    """Stage 1: one text a label, each beginning with its own, and no text empty; raises AnswerError.

    Of a product outside the domain nothing is asked.
    """
    if not answer.belongs:
        return
    if len(answer.image_captions) != len(labels):
        raise AnswerError(
            f"image_captions holds {len(answer.image_captions)} texts for {len(labels)} images; give one text for each "
            "image, in the order of the images"
        )
    for label, text in zip(labels, answer.image_captions, strict=True):
        if not text.startswith(label):
            raise AnswerError(f"the text {_quoted(text)} in image_captions does not begin with {label}; begin with it")
        _check_text(text.removeprefix(label), f"the text of {label} in image_captions")
    _check_text(answer.long_caption, "long_caption")
    _check_text(answer.short_caption, "short_caption")


def check_verification(answer: VerificationAnswer, asked: Mapping[str, Sequence[str]]) -> None:
    """Stage 2: the products asked for, each with its own captions, and boxes that hold something.

    `asked` has the names of the captions by product id. Raises AnswerError.
    """
    expected = list(enumerate(asked, start=1))
    found = [(product.product_index, product.product_id) for product in answer.products]
    if sorted(found) != expected:
        raise AnswerError(f"products has (product_index, product_id) {found}; it must have {expected}, each once")
    for product in answer.products:
        _check_analyses(product, asked[product.product_id])


def _check_analyses(product: ProductAnalysis, names: Sequence[str]) -> None:
    found = [analysis.caption_name for analysis in product.caption_analyses]
    if sorted(found) != sorted(names):
        raise AnswerError(
            f"caption_analyses of {product.product_id} has {found}; it must have {list(names)}, each once"
        )
    for analysis in product.caption_analyses:
        for box in analysis.bounding_boxes:
            _check_box(box, f"{product.product_id}, {analysis.caption_name}")


def _check_box(box: Box, where: str) -> None:
    left, top, right, bottom = box.bbox
    if not (left < right and top < bottom):
        raise AnswerError(
            f"{where}: the bbox {list(box.bbox)} of {_quoted(box.element)} is empty; it is [left, top, right, bottom] "
            "with left below right and top below bottom"
        )


def check_selections(answer: TripletAnswer, candidates: int, views: Sequence[str]) -> None:
    """Stage 3: up to `TARGETS` different candidates, known views, both texts; raises AnswerError."""
    targets = [selection.target_id for selection in answer.selections]
    if len(targets) > TARGETS:
        raise AnswerError(f"selections holds {len(targets)} entries; choose {TARGETS} at most")
    for target in targets:
        if not 1 <= target <= candidates:
            raise AnswerError(f"target_id {target} is no candidate; choose numbers from 1 to {candidates}")
        if targets.count(target) > 1:
            raise AnswerError(f"target_id {target} is chosen twice; choose different candidates")
    for selection in answer.selections:
        _check_selection(selection, views)


def _check_selection(selection: Selection, views: Sequence[str]) -> None:
    where = f"selection {selection.target_id}"
    for view in selection.views_involved:
        if view not in views:
            raise AnswerError(f"{where}: views_involved names {_quoted(view)}; known are {', '.join(views)}")
    if len(set(selection.views_involved)) < VIEWS:
        raise AnswerError(
            f"{where}: views_involved is {list(selection.views_involved)}; name at least {VIEWS} different views, or "
            "leave the candidate out"
        )
    _check_text(selection.modification_text_long, f"{where}: modification_text_long")
    _check_text(selection.modification_text_short, f"{where}: modification_text_short")


def _check_text(text: str, where: str) -> None:
    if not text.strip():
        raise AnswerError(f"{where} is empty; write it")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many texts of a kind there are, and how many have fewer or more words than their range allows."""

    texts: int
    below: int
    above: int


def word_report(captions: Iterable[Caption], triplets: Iterable[Triplet]) -> dict[str, Lengths]:
    """The lengths of all texts by the kinds in `RANGES`; a text outside its range is kept, and counted here."""
    counts: Counter[tuple[str, str]] = Counter()
    for caption in captions:
        _count(counts, "image caption", caption.images)
        _count(counts, "long caption", [caption.long])
        _count(counts, "short caption", [caption.short])
    for triplet in triplets:
        _count(counts, "long modification", [triplet.long] if triplet.long is not None else [])
        _count(counts, "short modification", [triplet.short])
    return {
        kind: Lengths(texts=counts[kind, "texts"], below=counts[kind, "below"], above=counts[kind, "above"])
        for kind in RANGES
    }


def _count(counts: Counter[tuple[str, str]], kind: str, texts: Iterable[str]) -> None:
    for text in texts:
        words = count_words(text)
        counts[kind, "texts"] += 1
        counts[kind, "below"] += words < RANGES[kind].start
        counts[kind, "above"] += words >= RANGES[kind].stop
