"""The card of an exported data set: what the Hub and the datasets library read, and what people read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from procir.construct import features
from procir.construct.features import Columns
from procir.construct.statistics import Statistics
from procir.construct.tables import markdown, write_pictures
from procir.records import write_text

LICENSE = "[fill in: the license of the pictures and of the texts]"
"""Stands for what only the publisher knows; the Hub refuses it until it is filled in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One table of the data set: its columns, and its rows by split."""

    name: str
    columns: Columns
    rows: Mapping[str, int]


def write_card(folder: Path, *, title: str, configs: Sequence[Config], statistics: Statistics) -> None:
    """Write README.md and the pictures that it shows."""
    pictures = write_pictures(folder, statistics)
    write_text(folder / "README.md", _front(title, configs) + _body(title, configs, statistics, pictures))


def _front(title: str, configs: Sequence[Config]) -> str:
    lines = ["---", f"license: {json.dumps(LICENSE)}", f"pretty_name: {json.dumps(title)}", "configs:"]
    for config in configs:
        lines += [f"- config_name: {config.name}", "  data_files:"]
        for split in config.rows:
            lines += [f"  - split: {split}", f"    path: {config.name}/{split}-*"]
    lines.append("dataset_info:")
    for config in configs:
        lines += [f"- config_name: {config.name}", "  features:", features.yaml(config.columns, "  ").rstrip("\n")]
    lines += ["tags: [composed-image-retrieval, multi-view, procir]", "---", ""]
    return "\n".join(lines)


def _body(title: str, configs: Sequence[Config], statistics: Statistics, pictures: Sequence[str]) -> str:
    tables = "".join(
        f"| `{config.name}` | {_ABOUT[config.name]} | "
        f"{', '.join(f'{rows:,} {split}' for split, rows in config.rows.items())} |\n"
        for config in configs
    )
    embedded = configs[0].columns["images"] == ["image"]
    shown = "\n".join(f"![{_ALT[name]}]({name})\n" for name in pictures)
    return _BODY.format(
        title=title,
        tables=tables,
        images=_EMBEDDED if embedded else _BY_PATH,
        statistics=markdown(statistics),
        pictures=shown,
    )


_ABOUT = {
    "products": "products: their views, captions, category and gender",
    "triplets": "source product, modification text, target product",
    "verdicts": "whether a product's captions confuse left and right",
}
_ALT = {"views.png": "Views of a product, by dataset", "words.png": "Words of each kind of text"}
_EMBEDDED = "The files of the views are inside, unchanged, in the column `images`."
_BY_PATH = (
    "The column `images` holds paths; the files are not part of this data set. Put them below `images/`, in a folder "
    "for each dataset and in it one for each product."
)
_BODY = """
# {title}

A data set for product-level composed image retrieval: a product is shown by several views, a modification text says
what should be different, and the target is the product that was meant. Captions, verdicts and triplets were made by
models and are not free of errors.

| config | one row | rows |
| --- | --- | --- |
{tables}
```python
from datasets import load_dataset

products = load_dataset("path/to/this/folder", "products")
triplets = load_dataset("path/to/this/folder", "triplets")
```

A product is identified by `dataset` and `product_id` together; `source_id`, `target_id` and `satisfying_ids` are
product ids of the triplet's dataset. {images}

## License

**To be filled in.** Say here, and in the first line of this file, under which license pictures and texts may be used.

{statistics}
{pictures}"""
