"""Where the questions to one annotator stand in the ledger; no key of an endpoint is needed to look."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from procir.annotators.ledger import Call, Decision, PaidAnswers
from procir.annotators.models import FORMAT
from procir.annotators.request import Request
from procir.annotators.settings import AnnotatorSettings


class Filing:
    """The keys of questions under some settings, and what became of them."""

    def __init__(self, settings: AnnotatorSettings, ledger: PaidAnswers) -> None:
        self.settings = settings
        self.ledger = ledger

    def key(self, request: Request[Any]) -> str:
        """The key of a question: pictures, texts, schema, model and parameters change it, nothing else."""
        content = [request.digest, FORMAT, self.settings.parameters()]
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def known(self, keys: Iterable[str]) -> dict[str, Decision]:
        """What became of those questions that are decided."""
        return self.ledger.known(keys)

    async def decide(self, request: Request[Any], decision: Decision) -> None:
        """Keep what became of a question, also if it was answered otherwise, as a part of another one."""
        call = Call(key=self.key(request), stage=request.stage, item=request.item, model=self.settings.model)
        await self.ledger.decide(call, decision)
