"""From the text of a model to a checked answer."""

from __future__ import annotations

import json
import re
from typing import Any

import json_repair
from pydantic import ValidationError

from procir.annotators.request import AnswerT, Request
from procir.errors import AnswerError

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_SHOWN = 5
"""Faults of one answer that a reason names."""


def read_answer(text: str, request: Request[AnswerT]) -> AnswerT:
    """The answer in a text, which may have prose or a code fence around it, or slightly broken JSON.

    Raises AnswerError with a reason that the model can act on.
    """
    value = _object(text)
    try:
        answer = request.schema.model_validate(value)
    except ValidationError as error:
        raise AnswerError(f"the JSON does not fit the schema: {_faults(error)}") from error
    request.check(answer)
    return answer


def _object(text: str) -> dict[str, Any]:
    candidates = [text, *reversed(_FENCED.findall(text)), _between_braces(text)]
    for candidate in candidates:
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    # Only now, for it makes something of almost everything.
    value = json_repair.loads(candidates[-1]) if candidates[-1] else None
    if isinstance(value, dict) and value:
        return value
    raise AnswerError("the answer holds no JSON object")


def _between_braces(text: str) -> str:
    start, end = text.find("{"), text.rfind("}")
    return "" if start < 0 else text[start : end + 1] if end > start else text[start:]


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    named = [f"{'.'.join(map(str, fault['loc'])) or 'answer'}: {fault['msg']}" for fault in faults[:_SHOWN]]
    more = len(faults) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")
