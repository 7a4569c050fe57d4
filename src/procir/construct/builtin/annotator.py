"""The built-in annotator without its server: from a question to the text of a model's answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from procir.catalog.atelier.garments import Garment
from procir.construct.builtin.album import Album
from procir.construct.builtin.captioner import answer_captions
from procir.construct.builtin.chooser import Chooser
from procir.construct.builtin.faults import Faults, lot
from procir.construct.builtin.reading import Question
from procir.construct.builtin.verifier import Told, analyse
from procir.construct.panorama import Bounds
from procir.construct.prompts.schemas import Coordinate, VerificationAnswer
from procir.construct.questions import CAPTION, LONG, SHORT, VERIFY, image_caption
from procir.errors import BadQuestionError
from procir.types import ProductKey

REFUSAL = "I cannot help with this."
_PROSE = "Here is what I found:\n\n```json\n{}\n```\n\nPlease tell me if anything is missing."
_FULL = 1000
_SLACK = 2
"""Thousandths by which the box of a view may be off."""


class BuiltinAnnotator:
    """Answers questions about the products of some attribute sheets; with an album it also looks at the pictures."""

    def __init__(self, sheets: Mapping[ProductKey, Garment], faults: Faults, album: Album | None = None) -> None:
        self._sheets = sheets
        self._keys = {str(key): key for key in sheets}
        self._faults = faults
        self._album = album
        self._chooser = Chooser(sheets)

    def items(self, question: Question) -> list[str]:
        """The ids of the products that a question is about. Raises BadQuestionError for one that is not known."""
        return [str(self._key(block)) for block in question.blocks]

    def refuses(self, question: Question) -> bool:
        """Whether the annotator refuses to answer."""
        return lot(self._faults.seed, "refusal", question.stage, *self.items(question)) < self._faults.refusals

    def answer(self, question: Question, name: str) -> str:
        """The text of an answer; `name` decides whether it is malformed. Raises BadQuestionError."""
        self._look(question)
        answer = self._answer(question)
        if question.objected and not self._faults.stubborn:
            return answer.model_dump_json(by_alias=True)
        return self._spoiled(answer, name)

    def _answer(self, question: Question) -> BaseModel:
        keys = [self._key(block) for block in question.blocks]
        if question.stage == CAPTION:
            faults = self._faults
            return answer_captions(
                keys[0], self._sheets[keys[0]], question.member, faults.seed, faults.left_right_errors
            )
        if question.stage == VERIFY:
            told = [self._told(block) for block in question.blocks]
            return VerificationAnswer(products=tuple(analyse(product, self._faults) for product in told))
        return self._chooser.choose(keys[0], keys[1:])

    def _key(self, block: Mapping[str, Any]) -> ProductKey:
        name = block.get("product_id")
        if not isinstance(name, str) or name not in self._keys:
            raise BadQuestionError(f"product_id {name!r} is not in the catalogue of this annotator")
        return self._keys[name]

    def _look(self, question: Question) -> None:
        """Check that each product comes with its own pictures."""
        for block, photos in zip(question.blocks, question.photos, strict=True):
            key = self._key(block)
            garment = self._sheets[key]
            stitched = question.stage != CAPTION
            if not stitched and len(photos) != len(garment.views):
                raise BadQuestionError(f"{key} comes with {len(photos)} pictures, but has {len(garment.views)} views")
            if self._album:
                self._album.check(key, garment, photos, stitched=stitched)

    def _told(self, block: Mapping[str, Any]) -> Told:
        key = self._key(block)
        garment, index = self._sheets[key], block.get("product_index")
        names = [*map(image_caption, range(1, len(garment.views) + 1)), LONG, SHORT]
        texts = {name: block.get(name) for name in names}
        lacking = [name for name, text in texts.items() if not isinstance(text, str)]
        if lacking or not isinstance(index, int):
            raise BadQuestionError(f"the data of {key} lack {', '.join(lacking) or 'product_index'}")
        boxes = _boxes(key, len(garment.views), block.get("views"))
        return Told(index=index, key=key, garment=garment, boxes=boxes, texts={n: str(t) for n, t in texts.items()})

    def _spoiled(self, answer: BaseModel, name: str) -> str:
        """The answer as text, or what came out instead."""
        text, fate = answer.model_dump_json(by_alias=True), lot(self._faults.seed, "answer", name)
        if fate < self._faults.empty_answers:
            return ""
        if fate >= self._faults.empty_answers + self._faults.malformed_json:
            return text
        kind = int(lot(self._faults.seed, "malformed", name) * 3)
        return (_PROSE.format(text), text[: len(text) // 4], _without_last(answer))[kind]


class _Place(BaseModel):
    """Where a request says that a view stands in the stitched picture."""

    name: str
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate]


_PLACES = TypeAdapter(list[_Place])


def _boxes(key: ProductKey, count: int, views: object) -> tuple[Bounds, ...]:
    """The boxes of the views of a product, which must be of equal width, as the photos of drawn garments are."""
    try:
        places = _PLACES.validate_python(views)
    except ValidationError as error:
        raise BadQuestionError(f"the views of {key} are not names with boxes: {error.errors()[0]['msg']}") from error
    expected = [_Place(name=image_caption(i + 1), box=_place(i, count)) for i in range(count)]
    if len(places) != count or not all(map(_same, places, expected)):
        raise BadQuestionError(f"the views of {key} are {places}, but should be {expected}")
    return tuple(place.box for place in places)


def _place(i: int, count: int) -> Bounds:
    return _FULL * i // count, 0, _FULL * (i + 1) // count, _FULL


def _same(found: _Place, expected: _Place) -> bool:
    near = all(abs(one - other) <= _SLACK for one, other in zip(found.box, expected.box, strict=True))
    return near and found.name == expected.name


def _without_last(answer: BaseModel) -> str:
    """The answer with one entry too few, or with a target that is none."""
    content = json.loads(answer.model_dump_json(by_alias=True))
    for name in ("image_captions", "products"):
        content[name] = content[name][:-1] if name in content else None
    for selection in content.get("selections", ()):
        selection["target_id"] += _FULL
    return json.dumps({name: value for name, value in content.items() if value is not None})
