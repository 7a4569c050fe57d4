"""Fashion200K (Han et al. 2017).

    women/dresses/casual_and_day_dresses/54686996/54686996_0.jpeg ...
    labels/dress_train_detect_all.txt ...       path, score of the detection and caption, between tabs

A product is a folder, and its id the folder's name, as in the released annotations. Photos that no label file names are
kept: the released annotations count them, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from procir.catalog.findings import Findings
from procir.catalog.offers import Details, FilePhoto, Offer
from procir.catalog.sources.albums import LEAST, Albums, enough
from procir.catalog.sources.lists import ABSENT, BOTH_SPLITS, MALFORMED, photo_parts, read_lines
from procir.errors import MissingDataError, RecordError
from procir.types import ProductKey

DATASET = "f200k"
DATASETS = (DATASET,)

_LABELS = re.compile(r".+_(train|test)_detect_all\.txt")
_NAME = re.compile(r"(.+)_\d+\.\w+")
_SPLITS = {"train": "train", "test": "val"}
_GENDER = "women"


@dataclass(slots=True)
class _Label:
    """What the label files say of a product."""

    splits: set[str] = field(default_factory=set)
    captions: dict[str, str] = field(default_factory=dict)
    """By the photo's file name."""


def fashion200k_offers(root: Path, findings: Findings, *, least: int = LEAST) -> Iterator[Offer]:
    """The products of the folder that holds women and labels, sorted by path.

    The split is that of the label files, test being val. (The paper splits at random: see `named_offers`.) Products
    with fewer than `least` photos, photos that are not named ID_N, second folders of one id, lines that cannot be used,
    and photos that label files name but the folder lacks are counted. Raises MissingDataError without photos,
    RecordError for a label file without any line that can be used, DataError for links that lead outside.
    """
    images = root / _GENDER
    if not images.is_dir():
        raise MissingDataError(f"{images}: no such folder; pass the folder that holds women, with its archive unpacked")
    labels = _read_labels(root, findings)
    seen: dict[str, str] = {}
    for parts, found in Albums(images, 3, findings):
        path = "/".join((_GENDER, *parts))
        names = _named_as(parts[-1], found, path, findings)
        label = labels.pop(path, None)
        _check(label, names, path, findings)
        if parts[-1] in seen:
            findings.add("second folders of one id", f"{path} (first in {seen[parts[-1]]})")
        elif enough(len(names), least, path, findings):
            seen[parts[-1]] = path
            yield _offer(images.joinpath(*parts), names, label or _Label())
    for path, label in sorted(labels.items()):
        findings.add("photos that label files name and the folder lacks", path, len(label.captions))


def _named_as(product_id: str, names: list[str], path: str, findings: Findings) -> list[str]:
    fitting = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None and match[1] == product_id:
            fitting.append(name)
        else:
            findings.add("photos that are not named ID_N", f"{path}/{name}")
    return fitting


def _check(label: _Label | None, names: list[str], path: str, findings: Findings) -> None:
    if label is None:
        findings.add("products that no label file names", path)
        return
    for name in sorted(label.captions.keys() - set(names)):
        findings.add("photos that label files name and the folder lacks", f"{path}/{name}")
    if len(label.splits) > 1:
        findings.add(BOTH_SPLITS, path)


def _offer(folder: Path, names: list[str], label: _Label) -> Offer:
    captions = list(dict.fromkeys(label.captions[name] for name in sorted(label.captions) if label.captions[name]))
    return Offer(
        key=ProductKey(DATASET, folder.name),
        photos=tuple(FilePhoto(folder / name) for name in names),
        where=str(folder),
        details=Details(
            title=captions[0] if captions else None,
            category=folder.parent.parent.name,
            gender=_GENDER,
            description="; ".join(captions) or None,
        ),
        split=max(label.splits) if label.splits else None,  # val is after train
    )


def _read_labels(root: Path, findings: Findings) -> dict[str, _Label]:
    """By the path of the product's folder."""
    labels: dict[str, _Label] = {}
    for path, split in _label_files(root):
        used = 0
        for where, line in read_lines(path, findings):
            fields = line.split("\t")
            parts = photo_parts(fields[0], 5)
            if len(fields) != 3 or parts is None:
                findings.add(MALFORMED, where)
                continue
            used += 1
            label = labels.setdefault("/".join(parts[:-1]), _Label())
            label.splits.add(split)
            label.captions.setdefault(parts[-1], fields[2].strip())
        if not used:
            raise RecordError(f"{path}: no line of it can be used; unpack the file anew, or remove it")
    if not labels:
        findings.add(ABSENT, f"{root}/labels/*_detect_all.txt")
    return labels


def _label_files(root: Path) -> Iterator[tuple[Path, str]]:
    for folder in (root / "labels", root):
        for path in sorted(folder.glob("*_detect_all.txt")):
            match = _LABELS.fullmatch(path.name)
            if match and path.is_file():
                yield path, _SPLITS[match[1]]
