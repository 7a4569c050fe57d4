"""The card of a model: what the Hub reads of it, and what people read before they use it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from procir.report.tables import flat

TAGS = ("composed-image-retrieval", "multimodal-embeddings", "procir")
RESULTS = "## Results"
MODEL_ROW = "procir"
"""The row of results.json that is the model's own."""

_LOADING = """\
## Use

```python
from procir.model.embedder import ProCIR

model = ProCIR.from_pretrained("{name}")
```

It also loads as `SentenceTransformer("{name}")` where procir is installed. A product is given
by up to five photos, a composed query by the photos of a product and a sentence that says what should be different;
embeddings have unit length, and are compared by their dot product.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card tells of a model that was trained; `settings` may be nested."""

    title: str
    about: str
    base_model: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    license: str | None = None


def model_card(facts: CardFacts) -> str:
    """The text of README.md, without results: those come from evaluations, see `with_results`."""
    data = ModelCardData(
        library_name="sentence-transformers", pipeline_tag="feature-extraction", tags=list(TAGS),
        base_model=facts.base_model, license=facts.license,
    )  # fmt: skip
    parts = [f"# {facts.title}", facts.about, _LOADING.format(name="path/or/hub-id").strip()]
    if facts.settings:
        lines = "\n".join(f"| {name} | {value} |" for name, value in flat(facts.settings))
        parts.append(f"## Training\n\n| setting | value |\n| --- | --- |\n{lines}")
    return f"---\n{data.to_yaml()}\n---\n" + "\n\n".join(parts) + "\n"


def with_results(
    card: str, results: Sequence[Mapping[str, Any]], *, name: str, license: str | None = None, url: str | None = None
) -> str:
    """The card with the recalls of evaluations, for the Hub and for people, instead of those that it had.

    `results` are contents of results.json, `name` is the model's name in the Hub's index, `url` where they come from.
    Text that is not about results stays as it is.
    """
    parsed = ModelCard(card)
    assert isinstance(parsed.data, ModelCardData)
    if license:
        parsed.data.license = license
    if results:
        parsed.data.model_name = name
        parsed.data.eval_results = [one for found in results for one in _index(found, url)]
    text = re.sub(rf"\n{RESULTS}\n.*?(?=\n## |\Z)", "\n", parsed.text, flags=re.DOTALL).strip()
    text = text.replace("path/or/hub-id", name)
    sections = [text, _section(results)] if results else [text]
    return f"---\n{parsed.data.to_yaml()}\n---\n" + "\n\n".join(sections) + "\n"


def _index(found: Mapping[str, Any], url: str | None) -> list[EvalResult]:
    """The Hub's entries: every recall of every dataset, and of their mean where there are several."""
    tables = {name: content["rows"][MODEL_ROW] for name, content in found["datasets"].items()}
    if len(tables) > 1:
        tables["mean over datasets"] = found["rows"][MODEL_ROW]
    return [
        EvalResult(
            task_type="composed-image-retrieval", task_name="Composed image retrieval", dataset_type=dataset,
            dataset_name=dataset, dataset_revision=found["data_hash"], metric_type="recall",
            metric_name=measure.replace("R@", "Recall at "), metric_value=value, source_url=url,
            source_name="procir evaluate" if url else None,
        )
        for dataset, row in tables.items()
        for measure, value in row.items()
        if value is not None
    ]  # fmt: skip


def _section(results: Sequence[Mapping[str, Any]]) -> str:
    return f"{RESULTS}\n\nRecall in percent, as `procir evaluate` measures it.\n\n" + "\n\n".join(map(_table, results))


def _table(found: Mapping[str, Any]) -> str:
    measures = list(found["rows"][MODEL_ROW])
    lines = [
        f"| data | queries | gallery | {' | '.join(measures)} |",
        f"| --- | ---: | ---: |{' ---: |' * len(measures)}",
        *(
            _line(name, content["queries"], content["gallery"], content["rows"][MODEL_ROW], measures)
            for name, content in found["datasets"].items()
        ),
    ]
    if len(found["datasets"]) > 1:
        lines.append(_line("mean", found["queries"], found["gallery"], found["rows"][MODEL_ROW], measures))
    return "\n".join(lines) + f"\n\nData hash `{found['data_hash'][:16]}`, procir {found['versions']['procir']}."


def _line(name: str, queries: int, gallery: int, row: Mapping[str, float | None], measures: Sequence[str]) -> str:
    values = ("–" if row[measure] is None else f"{row[measure]:.2f}" for measure in measures)
    return f"| {name} | {queries:,} | {gallery:,} | {' | '.join(values)} |"
