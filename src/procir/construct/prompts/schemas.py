"""What annotators answer in the three stages (paper, appendix A)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, create_model

Coordinate = Annotated[int, Field(ge=0, le=1000)]
"""Thousandths of a picture's width or height."""


class Answer(BaseModel):
    """An answer; fields that the schema does not name are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CaptionAnswer(Answer):
    """Stage 1: what a product is, seen from all its views."""

    belongs: bool
    """Whether the product belongs to the domain; asked for under the domain's own name, such as is_clothing."""
    image_captions: tuple[str, ...]
    long_caption: str
    short_caption: str


class Box(Answer):
    """A feature that is not symmetric, and where the stitched picture shows it."""

    element: str
    bbox: tuple[Coordinate, Coordinate, Coordinate, Coordinate]
    """Left, top, right, bottom."""
    position_in_image: str


class CaptionAnalysis(Answer):
    """What stage 2 found in one caption of a product."""

    caption_name: str
    """image_caption_1 and so on, long_caption, short_caption."""
    bounding_boxes: tuple[Box, ...]
    reasoning: str
    has_error: bool


class ProductAnalysis(Answer):
    """What stage 2 found in the captions of one product."""

    product_index: int
    """From 1, in the order of the request."""
    product_id: str
    caption_analyses: tuple[CaptionAnalysis, ...]


class VerificationAnswer(Answer):
    """Stage 2: which captions confuse left and right."""

    products: tuple[ProductAnalysis, ...]


class Selection(Answer):
    """A candidate that stage 3 chose as target, and the texts that lead there."""

    target_id: int
    """From 1, in the order of the candidates."""
    same_category_check: str
    views_involved: tuple[str, ...]
    difficulty_reasoning: str
    modification_text_long: str
    modification_text_short: str


class TripletAnswer(Answer):
    """Stage 3: up to two targets for a source."""

    selections: tuple[Selection, ...]


def caption_answer(member: str) -> type[CaptionAnswer]:
    """The schema of stage 1 with the domain's name for `belongs`, such as is_clothing."""
    return create_model("CaptionAnswer", __base__=CaptionAnswer, belongs=(bool, Field(alias=member)))
