"""Taking over one offer: its photos are read, decoded, hashed, chosen and written to the catalogue's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from procir.catalog.choosing import Candidate, Guess, ViewRules, candidates
from procir.catalog.findings import Findings
from procir.catalog.likeness import SmallCopy, alike, small_copy
from procir.catalog.offers import DETAILS, Offer
from procir.errors import DataError, ImageError
from procir.images import image_format, load_image, to_png
from procir.records import Row
from procir.types import ProductKey

SUFFIX_OF = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
"""Formats whose files are kept byte for byte; photos of other formats become PNG, without loss."""

NO_PHOTO = "products without a photo"
UNREADABLE = "photos that cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """A photo that has become a view: what it shows, and its content."""

    place: int
    name: str
    guess: Guess | None
    content: bytes
    suffix: str
    size: tuple[int, int]
    look: SmallCopy
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of an offer: its line for products.jsonl (None if it is left out), and facts for the record."""

    key: ProductKey
    row: Row | None
    photos: Sequence[Row]
    notes: Findings = field(default_factory=Findings)
    offered: int = 0

    @property
    def failed(self) -> bool:
        """Whether a photo could not be read, so that another run should try again."""
        return UNREADABLE in self.notes.counts

    def entry(self) -> dict[str, Any]:
        """The line of the record."""
        return {
            "dataset": self.key.dataset,
            "product_id": self.key.product_id,
            "offered": self.offered,
            "row": self.row,
            "photos": list(self.photos),
            "counts": self.notes.counts,
            "names": self.notes.names,
        }


def take(offer: Offer, images: Path, rules: ViewRules) -> Taken:
    """Write an offer's views to images/DATASET/PRODUCT-ID/NN_VIEW.EXT; raises DataError if the folder cannot be made.

    What lay in the folder before, sub-folders aside, is removed.
    """
    notes = Findings()
    chosen = sorted(_chosen(offer, rules, notes), key=lambda photograph: photograph.place)
    folder = images / offer.key.dataset / offer.key.product_id
    clear(folder)
    if len(chosen) < rules.least:
        notes.add(_too_few(offer, chosen, rules), f"{offer.where} ({offer.key})")
        return Taken(key=offer.key, row=None, photos=(), notes=notes, offered=len(offer.photos))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        photos = [_place(folder, number, photograph) for number, photograph in enumerate(chosen, start=1)]
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); look at the disk and at the id") from error
    views = [_view(str(photo["file"]), photograph.guess) for photo, photograph in zip(photos, chosen, strict=True)]
    return Taken(
        key=offer.key, row=_row(offer) | {"views": views}, photos=photos, notes=notes, offered=len(offer.photos)
    )


def _chosen(offer: Offer, rules: ViewRules, notes: Findings) -> list[Photograph]:
    chosen: list[Photograph] = []
    hashes: set[bytes] = set()
    queue = candidates(offer, rules)
    for number, candidate in enumerate(queue):
        if len(chosen) == rules.most:
            left = len(queue) - number
            notes.add(f"photos beyond the {rules.most} that are kept", f"{offer.where} ({offer.key})", left)
            break
        name = f"{offer.key}: {candidate.photo.name}"
        try:
            photograph = _look(candidate, name)
        except ImageError as error:
            notes.add(UNREADABLE, f"{offer.where}: {error}")
            continue
        if min(photograph.size) < rules.smallest_side:
            notes.add(f"photos with a side under {rules.smallest_side} pixels", name)
        elif photograph.digest in hashes:
            notes.add("photos that are another of the product, byte for byte", name)
        elif not rules.keep_alike and any(alike(photograph.look, other.look) for other in chosen):
            notes.add("photos that look like another of the product", name)
        else:
            hashes.add(photograph.digest)
            chosen.append(photograph)
    return chosen


def _look(candidate: Candidate, name: str) -> Photograph:
    content = candidate.photo.read()
    image = load_image(content, name=name)
    suffix = SUFFIX_OF.get(image_format(content, name))
    kept = to_png(image) if suffix is None else content
    return Photograph(
        place=candidate.place,
        name=candidate.photo.name,
        guess=candidate.guess,
        content=kept,
        suffix=suffix or ".png",
        size=image.size,
        look=small_copy(image),
        digest=sha256(kept).digest(),
    )


def _too_few(offer: Offer, chosen: Sequence[Photograph], rules: ViewRules) -> str:
    if not offer.photos:
        return NO_PHOTO
    return f"products with fewer than {rules.least} views" if chosen else "products none of whose photos can be used"


def clear(folder: Path) -> None:
    """Remove the files of a product's folder; folders in it may be other products."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_symlink() or not path.is_dir():
                path.unlink()


def _place(folder: Path, number: int, photograph: Photograph) -> Row:
    """Write a view, whole or not at all."""
    view = f"_{photograph.guess.view}" if photograph.guess else ""
    path = folder / f"{number:02}{view}{photograph.suffix}"
    unfinished = folder / f".{path.name}.tmp"
    unfinished.write_bytes(photograph.content)
    unfinished.replace(path)
    return {
        "file": path.name,
        "from": photograph.name,
        "bytes": len(photograph.content),
        "size": list(photograph.size),
        "sha256": photograph.digest.hex(),
    }


def _view(file: str, guess: Guess | None) -> Row:
    if guess is None:
        return {"file": file}
    return {"file": file, "view": guess.view, "confidence": guess.confidence, "known_by": guess.known_by}


def _row(offer: Offer) -> Row:
    row: Row = {"dataset": offer.key.dataset, "product_id": offer.key.product_id}
    known = {name: getattr(offer.details, name) for name in DETAILS} | {"split": offer.split}
    return row | {name: value.strip() for name, value in known.items() if value is not None and value.strip()}
