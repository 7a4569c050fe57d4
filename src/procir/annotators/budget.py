"""What questions cost: estimates before they are asked, and a limit that no run passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from procir.annotators.request import AnswerT, Picture, Request, schema_text
from procir.annotators.settings import AnnotatorSettings
from procir.errors import ConfigError, ExhaustedError, ImageError

CHARACTERS = 4
"""Characters of text a token: the usual mean of English text."""

PATCH = 28
"""A picture counts one token for each square of so many pixels, as Kimi and Qwen do; Gemini takes fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What questions would use at most: each answer of `max_tokens`. `dollars` is None if a price is unknown."""

    requests: int
    input_tokens: int
    output_tokens: int
    dollars: float | None


def input_tokens(request: Request[AnswerT], settings: AnnotatorSettings) -> int:
    """About how many tokens a question has; pictures are opened for their size at most. Raises ImageError."""
    texts = [part for part in request.parts if isinstance(part, str)]
    pictures = [part for part in request.parts if isinstance(part, Picture)]
    characters = sum(len(text) for text in (request.system, schema_text(request.schema), *texts))
    return -(-characters // CHARACTERS) + sum(_picture_tokens(picture, settings) for picture in pictures)


def _picture_tokens(picture: Picture, settings: AnnotatorSettings) -> int:
    side = settings.picture_side
    width, height = picture.size() if picture.size else (side, side)
    return -(-width // PATCH) * -(-height // PATCH)


def estimate(
    requests: Iterable[Request[AnswerT]],
    settings: AnnotatorSettings,
    skip: Callable[[str, str], None] | None = None,
) -> Estimate:
    """What questions would use at most, without asking any.

    Raises ImageError for a picture that cannot be opened, unless `skip` takes (item, reason) of such questions.
    """
    count = total = 0
    for request in requests:
        try:
            total += input_tokens(request, settings)
        except ImageError as error:
            if skip is None:
                raise
            skip(request.item, str(error))
            continue
        count += 1
    output = count * settings.max_tokens
    return Estimate(requests=count, input_tokens=total, output_tokens=output, dollars=settings.dollars(total, output))


@runtime_checkable
class Spending(Protocol):
    """What calls ask of a budget, in this process or behind an actor; see `Budget`."""

    def reserve(self, dollars: float) -> None:
        """Set the highest price of a call apart."""
        ...

    def settle(self, reserved: float, spent: float) -> None:
        """Count what a call really cost."""
        ...


class Budget:
    """Dollars that one run may spend. Calls reserve their highest price before they leave."""

    def __init__(self, limit: float) -> None:
        if not limit > 0:
            raise ConfigError(f"the budget is {limit} dollars: it must be above 0")
        self.limit = limit
        self.spent = 0.0
        self.reserved = 0.0

    def reserve(self, dollars: float) -> None:
        """Set the highest price of a call apart. Raises ExhaustedError if the limit could be passed."""
        if self.spent + self.reserved + dollars > self.limit:
            raise ExhaustedError(
                f"the budget of {self.limit:g} dollars: {self.spent:.4f} are spent, {self.reserved:.4f} reserved by "
                f"calls under way, and the next call may cost {dollars:.4f}; raise the budget and run again to go on"
            )
        self.reserved += dollars

    def settle(self, reserved: float, spent: float) -> None:
        """Count what a call really cost in place of what was reserved for it."""
        self.reserved -= reserved
        self.spent += spent
