"""Captions that a fine-tuned model writes of a product's views (paper, section 4.8, task 1)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from procir.catalog.conversations import CAPTION_SYSTEM, image_label
from procir.construct.builtin.reading import Question
from procir.construct.questions import CAPTION
from procir.errors import AnswerError, BadQuestionError, ImageError
from procir.images import load_image
from procir.model.embedder import ProCIR
from procir.model.generation import generate
from procir.model.pixels import ViewPixels, resize
from procir.types import Caption, Product, ProductKey

MAX_NEW = 1500
"""Most tokens of one product's captions: five of a view, a long and a short one."""

_LABEL = re.compile(r"^\[Image \d+\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Written:
    """What the model wrote of a product: its captions, or the reason why the text is none, and the text itself."""

    key: ProductKey
    caption: Caption | None
    reason: str | None
    text: str


def write_captions(
    model: ProCIR, products: Sequence[Product], *, max_new: int = MAX_NEW, temperature: float = 0.0, seed: int = 0
) -> list[Written]:
    """Captions of products, side by side; texts that are no captions come with the reason, and are never mended.

    Raises MissingDataError and ImageError for products whose views cannot be read.
    """
    shown = model.store.products(products)
    texts = write_texts(model, shown, max_new=max_new, temperature=temperature, seed=seed)
    found = []
    for product, views, text in zip(products, shown, texts, strict=True):
        try:
            found.append(Written(product.key, read_caption(product.key, text, len(views)), None, text))
        except AnswerError as error:
            found.append(Written(product.key, None, str(error), text))
    return found


def write_texts(
    model: ProCIR,
    shown: Sequence[Sequence[ViewPixels]],
    *,
    max_new: int = MAX_NEW,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """What the model says to the views of each product, with its thought: `thought</think>answer`."""
    openings = [model.dialogues.opening(CAPTION_SYSTEM, views) for views in shown]
    return [
        str(model.tokenizer.decode(tokens, skip_special_tokens=False))
        for tokens in generate(model, openings, max_new=max_new, temperature=temperature, seed=seed)
    ]


def read_caption(key: ProductKey, text: str, views: int) -> Caption:
    """The captions in a text: one a view from its thought, the others from the JSON behind it.

    Raises AnswerError with the reason if there are not as many captions as views, or no JSON object with both texts.
    """
    thought, closed, answer = text.partition("</think>")
    if not closed:
        raise AnswerError("the thought does not end")
    images = _images(thought, views)
    try:
        found = json.loads(answer)
    except ValueError as error:
        raise AnswerError(f"the answer is no JSON ({error})") from error
    texts = [found.get(name) if isinstance(found, dict) else None for name in ("long_caption", "short_caption")]
    if not all(isinstance(one, str) and one.strip() for one in texts):
        raise AnswerError("the JSON lacks long_caption or short_caption")
    long, short = map(str, texts)
    return Caption(key, long, short, images)


def _images(thought: str, views: int) -> tuple[str, ...]:
    starts = [match.start() for match in _LABEL.finditer(thought.strip())]
    ends = [*starts[1:], None]
    texts = tuple(thought.strip()[start:end].strip() for start, end in zip(starts, ends, strict=True))
    labels = [image_label(number) for number in range(1, views + 1)]
    if [match.group() for match in _LABEL.finditer(thought.strip())] != labels:
        raise AnswerError(f"the thought has {len(texts)} captions of views, in whatever order, for {views} views")
    return texts


class ModelAnnotator:
    """A fine-tuned model as the annotator of stage 1; it answers no other stage, and refuses nothing.

    What it writes goes out as it is, so that the asking side judges it as it judges any annotator.
    """

    def __init__(self, model: ProCIR, max_new: int = MAX_NEW) -> None:
        self._model = model
        self._max_new = max_new

    def items(self, question: Question) -> list[str]:
        """The ids of the products that a question is about. Raises BadQuestionError for other stages than 1."""
        if question.stage != CAPTION:
            raise BadQuestionError(f"a question of stage {question.stage}: this model answers those of {CAPTION} alone")
        return [str(block["product_id"]) for block in question.blocks]

    def refuses(self, question: Question) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def answer(self, question: Question, name: str) -> str:  # noqa: ARG002
        """The captions as JSON in the form of stage 1; what cannot be read as captions goes out as it was written."""
        try:
            shown = [resize(load_image(photo), self._model.settings.pixels) for photo in question.photos[0]]
        except ImageError as error:
            raise BadQuestionError(f"a picture cannot be read: {error}") from error
        (text,) = write_texts(self._model, [shown], max_new=self._max_new)
        key = ProductKey("", self.items(question)[0])
        try:
            caption = read_caption(key, text, len(shown))
        except AnswerError:
            return text
        texts = {"image_captions": caption.images, "long_caption": caption.long, "short_caption": caption.short}
        return json.dumps({question.member: True, **texts}, ensure_ascii=False)
