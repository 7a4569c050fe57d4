"""Stage 2: products whose captions confuse left and right are found and removed (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from procir.annotators.ledger import Decision
from procir.annotators.request import Request
from procir.annotators.run import Annotator, failure_row
from procir.construct.material import CHUNK, Captioned
from procir.construct.prompts.schemas import ProductAnalysis, VerificationAnswer
from procir.construct.questions import BATCH, VERIFY, Described, image_caption, verification_question
from procir.construct.verdicts import Verdict
from procir.construct.work import Work
from procir.pieces import pieces
from procir.records import read_jsonl, write_jsonl
from procir.types import Product, ProductKey

BATCHES = "batches.jsonl"
"""Which products are asked about together: kept, so that a resumed run asks the same questions."""

SKIPPED_VIEW = "side"
"""Views of which left and right say nothing."""


@dataclass(slots=True)
class _Board:
    """What is known of every product: the key of the question about it alone, and what became of that question."""

    work: Work
    annotator: Annotator
    captioned: Captioned
    alone: dict[ProductKey, str] = field(default_factory=dict)
    decided: dict[ProductKey, Decision] = field(default_factory=dict)
    asked: dict[str, list[Described]] = field(default_factory=dict)
    """The products of each question under way, by its item."""

    def survey(self) -> None:
        """Find out what would be asked of each product, and what is known."""
        for part in pieces(self.captioned.keys, CHUNK):
            found = self.captioned.described(part, self.work.skip(VERIFY))
            keys = {described.caption.key: self.annotator.key(self._question([described])) for described in found}
            known = self.annotator.known(keys.values())
            self.alone |= keys
            self.decided |= {product: known[key] for product, key in keys.items() if key in known}

    def questions(self, batches: Iterable[Sequence[ProductKey]]) -> Iterator[Request[VerificationAnswer]]:
        """One question a batch with a product that nothing is known of; failed ones by themselves, on demand."""
        for batch in batches:
            if any(self._open(product, alone=len(batch) == 1) for product in batch):
                question = self._question(described := list(self.captioned.described(batch, self.work.skip(VERIFY))))
                self.asked[question.item] = described
                yield question

    async def ask(self, batches: Sequence[Sequence[ProductKey]]) -> list[ProductKey]:
        """Ask about batches, and note the verdict on each of their products; returns those that have none."""
        left: list[ProductKey] = []
        questions = self.questions(batches)
        async with aclosing(self.work.outcomes(VERIFY, self.annotator, questions, len(batches))) as outcomes:
            async for outcome in outcomes:
                batch = self.asked.pop(outcome.request.item)
                if outcome.answer is not None:
                    await self._share(outcome.answer, batch)
                    continue
                left += [described.caption.key for described in batch]
                if len(batch) == 1:
                    self.decided[left[-1]] = Decision(answer=None, reason=outcome.reason, round=0)
        return sorted(left)

    async def _share(self, answer: VerificationAnswer, batch: Sequence[Described]) -> None:
        """Keep each product's part of an answer as the answer to the question about it alone."""
        parts = {analysis.product_id: analysis for analysis in answer.products}
        for described in batch:
            part = parts[str(described.caption.key)].model_copy(update={"product_index": 1})
            own = Decision(answer=VerificationAnswer(products=(part,)).model_dump_json(), reason=None, round=0)
            self.decided[described.caption.key] = own
            if len(batch) > 1:
                await self.annotator.decide(self._question([described]), own)

    def _open(self, product: ProductKey, *, alone: bool) -> bool:
        decision = self.decided.get(product)
        return decision is None or (alone and decision.answer is None and self.work.retry_failed)

    def failed(self) -> list[ProductKey]:
        """Products that were asked about alone in vain."""
        return [product for product, decision in self.decided.items() if decision.answer is None]

    def _question(self, described: Sequence[Described]) -> Request[VerificationAnswer]:
        return verification_question(described, self.work.domain)


async def verify(work: Work, annotator: Annotator, captioned: Captioned, folder: Path) -> tuple[Verdict, ...]:
    """The verdict on every product that could be checked, in key order; `folder` keeps the batches.

    Up to five products go into a request; where its answer will not do, each is asked about alone.
    """
    board = _Board(work, annotator, captioned)
    board.survey()
    failed = board.failed()
    left = await board.ask(plan(folder / BATCHES, board.alone, board.decided))
    await board.ask([(product,) for product in sorted({*left, *failed})])
    for product, decision in sorted(board.decided.items()):
        if decision.answer is None:
            work.failures.append(failure_row(VERIFY, str(product), decision.reason, board.alone[product]))
    return tuple(_verdicts(board))


def plan(
    path: Path, alone: Mapping[ProductKey, str], decided: Mapping[ProductKey, object]
) -> tuple[tuple[ProductKey, ...], ...]:
    """The batches: those of an earlier run whose products are as they were, and new ones for what is in none."""
    by_question = {question: product for product, question in alone.items()}
    kept = []
    for _, row in read_jsonl(path) if path.is_file() else ():
        questions = row["questions"]
        if isinstance(questions, list) and all(question in by_question for question in questions):
            kept.append(tuple(by_question[question] for question in questions))
    taken = {product for batch in kept for product in batch}
    fresh = [product for product in alone if product not in taken and product not in decided]
    batches = (*kept, *(tuple(part) for part in pieces(fresh, BATCH)))
    write_jsonl(path, ({"questions": [alone[product] for product in batch]} for batch in batches))
    return batches


def _verdicts(board: _Board) -> Iterator[Verdict]:
    for key in board.captioned.keys:
        decision = board.decided.get(key)
        if decision is not None and decision.answer is not None:
            (analysis,) = VerificationAnswer.model_validate_json(decision.answer).products
            yield judge(board.captioned.product(key), analysis)


def judge(product: Product, analysis: ProductAnalysis) -> Verdict:
    """A product has an error if any of its captions has one; captions of side views do not count."""
    sides = {image_caption(i) for i, view in enumerate(product.views, start=1) if view.name == SKIPPED_VIEW}
    wrong = any(found.has_error and found.caption_name not in sides for found in analysis.caption_analyses)
    return Verdict(product.key, wrong, analysis.caption_analyses)
