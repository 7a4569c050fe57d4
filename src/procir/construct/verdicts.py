"""What stage 2 found in the captions of a product."""

from __future__ import annotations

from dataclasses import dataclass

from procir.construct.prompts.schemas import CaptionAnalysis
from procir.types import ProductKey


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a product's captions confuse left and right, and the analysis of each caption where it is kept."""

    key: ProductKey
    has_error: bool
    analyses: tuple[CaptionAnalysis, ...] = ()
