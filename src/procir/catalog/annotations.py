"""Caption and triplet lines in the published field names: reading, checking and writing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from procir.catalog.findings import Findings
from procir.errors import RecordError
from procir.records import Row, identifier, optional_text, read_jsonl, text, texts
from procir.types import Caption, Product, ProductKey, Triplet, View

_UNSAFE_PARTS = frozenset({"", ".", ".."})
_REMEDY = "correct or remove these lines"


@dataclass(slots=True)
class Annotations:
    """The lines of a split; `named` holds, for every product that they name, the file:line that did so first.

    `gaps` counts lines without a text, which are left out of the rest; `notes` counts what was set aside.
    """

    captions: dict[ProductKey, Caption] = field(default_factory=dict)
    triplets: list[Triplet] = field(default_factory=list)
    categories: dict[ProductKey, str] = field(default_factory=dict)
    genders: dict[ProductKey, str] = field(default_factory=dict)
    named: dict[ProductKey, str] = field(default_factory=dict)
    lines: dict[ProductKey, str] = field(default_factory=dict)
    gaps: Findings = field(default_factory=Findings)
    notes: Findings = field(default_factory=Findings)


def read_annotations(captions: Path | None, triplets: Path | None, dataset: str | None = None) -> Annotations:
    """The annotations in up to two files.

    With `dataset`, the lines may leave their field of that name out, or repeat it. Raises MissingDataError without
    a file, and RecordError for malformed lines, ids that would leave their folder, second captions of a product,
    and `satisfying_ids` without the target.
    """
    annotations, faults = Annotations(), Findings()
    for path, take in ((captions, _take_caption), (triplets, _take_triplet)):
        for number, row in read_jsonl(path) if path else ():
            take(annotations, faults, _Line(row, f"{path}:{number}", dataset))
    if faults:
        raise RecordError(f"{faults.describe()}; {_REMEDY}")
    return annotations


@dataclass(frozen=True, slots=True)
class _Line:
    row: Row
    where: str
    dataset: str | None

    def dataset_name(self) -> str:
        if self.dataset is None or self.row.get("dataset") is not None:
            name = text(self.row, "dataset", self.where)
            if self.dataset not in (None, name):
                raise RecordError(
                    f"{self.where}: dataset {name!r} is not {self.dataset!r}; remove the field or rename the folder"
                )
            return name
        return self.dataset

    def blank(self, *fields: str) -> bool:
        values = (self.row.get(name) for name in fields)
        return any(isinstance(value, str) and not value.strip() for value in values)


def _key(line: _Line, product_id: str, annotations: Annotations, faults: Findings) -> ProductKey:
    dataset = line.dataset_name()
    known = ProductKey(dataset, product_id)
    if known in annotations.named:
        return known
    if not is_safe_key(known):
        faults.add("ids that would leave their folder", f"{line.where} ({dataset!r}, {product_id!r})")
    annotations.named[known] = line.where
    return known


def is_safe(product_id: str) -> bool:
    """Whether an id, joined to a folder, names something below it: relative, plain parts between slashes."""
    return not ("\\" in product_id or "\0" in product_id) and _UNSAFE_PARTS.isdisjoint(product_id.split("/"))


def is_safe_key(key: ProductKey) -> bool:
    """Whether a key names a folder DATASET/PRODUCT-ID below that of the images."""
    return is_safe(key.product_id) and is_safe(key.dataset) and "/" not in key.dataset


def _take_caption(annotations: Annotations, faults: Findings, line: _Line) -> None:
    row, where = line.row, line.where
    key = _key(line, identifier(row, "product_id", where), annotations, faults)
    if key in annotations.lines:
        faults.add("second captions of a product", f"{where} ({key}, first in {annotations.lines[key]})")
    annotations.lines[key] = where
    for values, name in ((annotations.categories, "category"), (annotations.genders, "gender")):
        value = optional_text(row, name, where)
        if value is not None:
            values[key] = value
    if line.blank("long_caption", "short_caption"):
        annotations.gaps.add("captions with a blank text", f"{where} ({key})")
        return
    long, short = text(row, "long_caption", where), text(row, "short_caption", where)
    annotations.captions[key] = Caption(key, long, short, _image_captions(annotations, line))


def _image_captions(annotations: Annotations, line: _Line) -> tuple[str, ...]:
    try:
        return texts(line.row, "image_captions", line.where)
    except RecordError:
        annotations.notes.add("image captions that are no list of texts", line.where)
        return ()


def _take_triplet(annotations: Annotations, faults: Findings, line: _Line) -> None:
    row, where = line.row, line.where
    source = _key(line, identifier(row, "source_id", where), annotations, faults)
    target = _key(line, identifier(row, "target_id", where), annotations, faults)
    satisfying = tuple(_key(line, other, annotations, faults) for other in texts(row, "satisfying_ids", where))
    if satisfying and target not in satisfying:
        faults.add("satisfying_ids without the target", f"{where} ({target})")
    if line.blank("modification_text_short"):
        annotations.gaps.add("triplets with a blank modification text", where)
        return
    triplet = Triplet(
        source=source,
        target=target,
        short=text(row, "modification_text_short", where),
        long=optional_text(row, "modification_text_long", where),
        views_involved=texts(row, "views_involved", where),
        satisfying=satisfying,
    )
    annotations.triplets.append(triplet)


def make_product(key: ProductKey, views: tuple[View, ...], annotations: Annotations) -> Product:
    """The product with the category and gender that its caption line gives, if any."""
    return Product(key, views, annotations.categories.get(key), annotations.genders.get(key))


def fit_image_captions(caption: Caption, product: Product, found: int, notes: Findings) -> Caption:
    """The caption with one image text a view; `found` photos were in the folder, of which the views are the first.

    Texts that are neither one a view nor one a photo are set aside, and noted.
    """
    shown = len(product.views)
    if not caption.images or len(caption.images) == shown:
        return caption
    if len(caption.images) == found:
        return replace(caption, images=caption.images[:shown])
    notes.add("image captions that do not fit the photos", str(caption.key))
    return replace(caption, images=())


def keep_known(
    triplets: Iterable[Triplet], products: Mapping[ProductKey, Product], gaps: Findings
) -> tuple[Triplet, ...]:
    """The triplets whose source and target are known, their satisfying products reduced to known ones."""
    kept = []
    for triplet in triplets:
        if triplet.source not in products or triplet.target not in products:
            gaps.add("triplets of products left out", f"{triplet.source} -> {triplet.target}")
            continue
        satisfying = tuple(key for key in triplet.satisfying if key in products)
        if len(satisfying) < len(triplet.satisfying):
            lost = len(triplet.satisfying) - len(satisfying)
            gaps.add("satisfying products left out", f"{triplet.source} -> {triplet.target}", lost)
            triplet = replace(triplet, satisfying=satisfying)  # noqa: PLW2901 - the same triplet, reduced
        kept.append(triplet)
    return tuple(kept)


def caption_row(caption: Caption, product: Product) -> Row:
    """A caption line in the published field names, with the product's category and gender where known."""
    row: Row = {
        "product_id": caption.key.product_id,
        "dataset": caption.key.dataset,
        "long_caption": caption.long,
        "short_caption": caption.short,
        "image_captions": list(caption.images),
    }
    known = {"category": product.category, "gender": product.gender}
    return row | {name: value for name, value in known.items() if value is not None}


def triplet_row(triplet: Triplet) -> Row:
    """A triplet line in the published field names; what is not known is left out."""
    row: Row = {
        "source_id": triplet.source.product_id,
        "target_id": triplet.target.product_id,
        "dataset": triplet.source.dataset,
        "modification_text_short": triplet.short,
    }
    known: Row = {
        "modification_text_long": triplet.long,
        "views_involved": list(triplet.views_involved) or None,
        "satisfying_ids": [key.product_id for key in triplet.satisfying] or None,
    }
    return row | {name: value for name, value in known.items() if value is not None}
