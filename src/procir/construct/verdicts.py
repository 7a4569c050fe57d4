"""What stage 2 found in the captions of a product."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from procir.construct.prompts.schemas import CaptionAnalysis
from procir.errors import RecordError
from procir.records import product_key, read_jsonl, write_jsonl
from procir.types import ProductKey


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a product's captions confuse left and right, and the analysis of each caption where it is kept."""

    key: ProductKey
    has_error: bool
    analyses: tuple[CaptionAnalysis, ...] = ()


def write_verdicts(path: Path, verdicts: Iterable[Verdict]) -> int:
    """Write verdicts as JSON lines in one atomic step, and return their number."""
    return write_jsonl(
        path,
        (
            {
                "dataset": verdict.key.dataset,
                "product_id": verdict.key.product_id,
                "has_error": verdict.has_error,
                "caption_analyses": [analysis.model_dump(mode="json") for analysis in verdict.analyses],
            }
            for verdict in verdicts
        ),
    )


def read_verdicts(path: Path) -> tuple[Verdict, ...]:
    """What `write_verdicts` wrote. Raises MissingDataError without the file, RecordError for other lines."""
    found = []
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        key = product_key(row, where)
        analyses = row.get("caption_analyses")
        if not isinstance(row.get("has_error"), bool) or not isinstance(analyses, list):
            raise RecordError(f"{where}: has_error or caption_analyses is missing; construct the data set again")
        try:
            parsed = tuple(CaptionAnalysis.model_validate(analysis) for analysis in analyses)
        except ValidationError as error:
            raise RecordError(f"{where}: no analysis of captions ({error}); construct the data set again") from error
        found.append(Verdict(key, bool(row["has_error"]), parsed))
    return tuple(found)
