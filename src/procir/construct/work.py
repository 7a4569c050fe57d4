"""What the stages of one run share: the ledger, the domain, and what failed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from procir.annotators.ledger import PaidAnswers
from procir.annotators.request import AnswerT, Request
from procir.annotators.run import Annotator, Outcome, failure_row
from procir.construct.domain import Domain
from procir.construct.material import Skip
from procir.records import Row

Progress = Callable[[str, int, int, int], None]
"""Told (stage, answers, failures, questions in all or 0)."""


@dataclass(slots=True, kw_only=True)
class Work:
    """One run; `failures` has a row for everything that was asked or should have been, without a usable answer."""

    ledger: PaidAnswers
    domain: Domain
    retry_failed: bool = False
    progress: Progress = lambda *_: None
    failures: list[Row] = field(default_factory=list)

    def skip(self, stage: str) -> Skip:
        """Notes what a stage cannot ask about."""
        return lambda item, reason: self.failures.append(failure_row(stage, item, reason))

    async def outcomes(
        self, stage: str, annotator: Annotator, questions: Iterable[Request[AnswerT]], total: int
    ) -> AsyncGenerator[Outcome[AnswerT], None]:
        """The outcome of each question of a stage, as they come; failures come too, and are the stage's to note."""

        def report(answers: int, failures: int) -> None:
            self.progress(stage, answers, failures, total)

        found = annotator.outcomes(questions, retry_failed=self.retry_failed, progress=report)
        async with aclosing(found) as outcomes:
            async for outcome in outcomes:
                yield outcome
