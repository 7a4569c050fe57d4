"""The card of a model: what the Hub reads of it, and what people read before they use it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from yaml import YAMLError  # type: ignore[import-untyped]

from procir.report.tables import flat

TAGS = ("composed-image-retrieval", "multimodal-embeddings", "procir")
RESULTS = "## Results"
MODEL_ROW = "procir"
"""The row of results.json that is the model's own."""

_NAME = "path/or/hub-id"
"""Stands for the model's name until it is pushed somewhere."""
_LOADING = f"""\
## Use

With procir installed:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{_NAME}", trust_remote_code=True)
queries = model.encode([{{"image": ["front.jpg", "back.jpg"], "text": "the same in navy"}}])
products = model.encode([{{"image": ["other-front.jpg", "other-back.jpg"]}}])
print(model.similarity(queries, products))
```

`ProCIR.from_pretrained("{_NAME}")` of `procir.model.embedder` loads it without sentence-transformers. A product is
given by up to five photos, a composed query by the photos of a product and a sentence that says what should be
different; embeddings have unit length, and are compared by their dot product.
"""
_LIMITS = """\
## Limitations

{learnt} How well it does on other products, other kinds of photos or other languages than those of its texts is not
known from that. What it was measured on is under Results, by dataset and split; without such a section, this card
claims no quality. A search always ranks the whole gallery, also when nothing in it is what was meant.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card tells of a model that was trained; `settings` may be nested."""

    title: str
    about: str
    base_model: str | None = None
    datasets: Mapping[str, int] = field(default_factory=dict)
    """Training products by dataset."""
    data_hash: str | None = None
    """Of the training data, see `procir.records.data_hash`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    license: str | None = None


def model_card(facts: CardFacts) -> str:
    """The text of README.md, without results: those come from evaluations, see `with_results`."""
    data = _described(ModelCardData(base_model=facts.base_model, license=facts.license))
    learnt = f"It has learnt from {_data(facts)}." if facts.datasets else "What it has learnt from is not told here."
    parts = [f"# {facts.title}", facts.about, _LOADING, _training(facts), _LIMITS.format(learnt=learnt)]
    return f"---\n{data.to_yaml()}\n---\n" + "\n\n".join(part.strip() for part in parts if part) + "\n"


def with_results(
    card: str, results: Sequence[Mapping[str, Any]], *, name: str, license: str | None = None, url: str | None = None
) -> str:
    """The card with the recalls of evaluations, for the Hub and for people, instead of those that it had.

    `results` are contents of results.json, `name` is the model's name in the Hub's index, `url` where they come from.
    Text that is not about results stays as it is. Raises ValueError if the metadata is not what a card's is.
    """
    try:
        parsed = ModelCard(card)
    except YAMLError as error:
        raise ValueError(f"its metadata is not YAML: {error}") from error
    assert isinstance(parsed.data, ModelCardData)
    _described(parsed.data)
    if license:
        parsed.data.license = license
    if results:
        parsed.data.model_name = name
        parsed.data.eval_results = [one for found in results for one in _index(found, url)]
    text = re.sub(rf"\n{RESULTS}\n.*?(?=\n## |\Z)", "\n", parsed.text, flags=re.DOTALL).strip()
    text = text.replace(_NAME, name)
    sections = [text, _section(results)] if results else [text]
    return f"---\n{parsed.data.to_yaml()}\n---\n" + "\n\n".join(sections) + "\n"


def _described(data: ModelCardData) -> ModelCardData:
    """The metadata with what the Hub must know of any such model, where it does not say so already."""
    data.library_name = data.library_name or "sentence-transformers"
    data.pipeline_tag = data.pipeline_tag or "feature-extraction"
    data.tags = data.tags or list(TAGS)
    return data


def _training(facts: CardFacts) -> str:
    if not facts.settings:
        return ""
    data = f"Data: {_data(facts)}. " if facts.datasets else ""
    digest = f"Hash of the data: `{facts.data_hash}`." if facts.data_hash else ""
    lines = "\n".join(f"| {name} | {value} |" for name, value in flat(facts.settings))
    return f"## Training\n\n{data}{digest}\n\n| setting | value |\n| --- | --- |\n{lines}"


def _data(facts: CardFacts) -> str:
    return ", ".join(f"{name} ({count:,} products)" for name, count in sorted(facts.datasets.items()))


def _index(found: Mapping[str, Any], url: str | None) -> list[EvalResult]:
    """The Hub's entries: every recall of every dataset, and of their mean where there are several."""
    tables = {name: content["rows"][MODEL_ROW] for name, content in found["datasets"].items()}
    if len(tables) > 1:
        tables["mean over datasets"] = found["rows"][MODEL_ROW]
    return [
        EvalResult(
            task_type="composed-image-retrieval", task_name="Composed image retrieval", dataset_type=dataset,
            dataset_name=dataset, dataset_split=found["config"].get("split"), dataset_revision=found["data_hash"],
            metric_type="recall", metric_name=measure.replace("R@", "Recall at "), metric_value=value, source_url=url,
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
    config = {"split": "", "protocol": "", **found["config"]}
    measured = "".join(f"{name} {config[name]}, " for name in ("split", "protocol") if config[name])
    told = f"{measured}data hash `{found['data_hash'][:16]}`, procir {found['versions']['procir']}."
    return "\n".join(lines) + f"\n\n{told[0].upper()}{told[1:]}"


def _line(name: str, queries: int, gallery: int, row: Mapping[str, float | None], measures: Sequence[str]) -> str:
    values = ("–" if row[measure] is None else f"{row[measure]:.2f}" for measure in measures)
    return f"| {name} | {queries:,} | {gallery:,} | {' | '.join(values)} |"
