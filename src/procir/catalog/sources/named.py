"""The products that released annotations name, taken from a source of their photos.

The annotations are {train,val}_{triplets,captions}.jsonl, as `procir.catalog.released` reads them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from procir.catalog.annotations import is_safe_key
from procir.catalog.findings import Findings
from procir.catalog.offers import Offer
from procir.catalog.products import SPLITS
from procir.errors import DataError, MissingDataError, RecordError
from procir.records import Row, file_hash, identifier, optional_text, product_key, read_jsonl, replacing, text
from procir.types import ProductKey

_KINDS = ("captions", "triplets")


@dataclass(slots=True)
class Named:
    """The products that annotations name; `where` is the file:line that did so first."""

    where: dict[ProductKey, str] = field(default_factory=dict)
    splits: dict[ProductKey, str] = field(default_factory=dict)
    categories: dict[ProductKey, str] = field(default_factory=dict)
    genders: dict[ProductKey, str] = field(default_factory=dict)


def read_named(folder: Path, findings: Findings) -> Named:
    """The products that the files of a folder name; products of both splits are taken as val, and counted.

    Raises MissingDataError without any of the files, RecordError for lines without ids or whose ids would leave their
    folder. No text is kept.
    """
    files = [(split, folder / f"{split}_{kind}.jsonl") for split in SPLITS for kind in _KINDS]
    found = [(split, path) for split, path in files if path.is_file()]
    if not found:
        names = ", ".join(path.name for _, path in files)
        raise MissingDataError(f"{folder}: none of {names}; pass the folder that holds the released annotations")
    named = Named()
    for split, path in found:
        for number, row in read_jsonl(path):
            where = f"{path}:{number}"
            for key in _keys(row, where, captions="captions" in path.name):
                _note(named, key, split, where, findings)
            if "captions" in path.name:
                _learn(named, row, where)
    return named


def _keys(row: Row, where: str, *, captions: bool) -> Iterator[ProductKey]:
    if captions:
        yield product_key(row, where)
        return
    dataset = text(row, "dataset", where)
    for name in ("source_id", "target_id"):
        yield ProductKey(dataset, identifier(row, name, where))


def _note(named: Named, key: ProductKey, split: str, where: str, findings: Findings) -> None:
    if key in named.splits:
        if named.splits[key] != split:
            findings.add("products that both splits name, which are taken as val", str(key))
            named.splits[key] = "val"
        return
    if not is_safe_key(key):
        raise RecordError(f"{where}: {key} would leave its folder; correct or remove the line")
    named.where[key], named.splits[key] = where, split


def _learn(named: Named, row: Row, where: str) -> None:
    key = product_key(row, where)
    for values, name in ((named.categories, "category"), (named.genders, "gender")):
        value = optional_text(row, name, where)
        if value is not None:
            values.setdefault(key, value)


def named_offers(
    source: Callable[[Findings], Iterator[Offer]], named: Named, datasets: Collection[str], findings: Findings
) -> Iterator[Offer]:
    """Those products of a source that annotations name, with the annotations' split, and their category and gender
    where they have them.

    Others are counted, and so, dataset by dataset, are products of `datasets` that the source lacks.
    """
    missing = {key for key in named.splits if key.dataset in datasets}
    for offer in source(findings):
        if offer.key not in missing:
            findings.add("products that the annotations do not name", f"{offer.where} ({offer.key})")
            continue
        missing.discard(offer.key)
        details = replace(
            offer.details,
            category=named.categories.get(offer.key, offer.details.category),
            gender=named.genders.get(offer.key, offer.details.gender),
        )
        yield replace(offer, details=details, split=named.splits[offer.key])
    for key in sorted(missing):
        findings.add(
            f"products of {key.dataset} that the annotations name and the source lacks", f"{named.where[key]} ({key})"
        )


def place_annotations(folder: Path, out: Path) -> tuple[str, ...]:
    """Copy the annotation files beside out/images, where `read_split` looks for them, and name them.

    Raises DataError, before anything is copied, for other files of these names in `out`.
    """
    names = [f"{split}_{kind}.jsonl" for split in SPLITS for kind in _KINDS]
    present = [name for name in names if (folder / name).is_file()]
    wanted = [name for name in present if not (out / name).exists()]
    for name in sorted(set(present) - set(wanted)):
        if file_hash(folder / name) != file_hash(out / name):
            raise DataError(f"{out / name}: is there, and is not {folder / name}; move it away, or pass another folder")
    for name in wanted:
        with replacing(out / name) as copy, (folder / name).open("rb") as file:
            shutil.copyfileobj(file, copy)
    return tuple(present)
