"""Products in the image folders of the published layout: images/<dataset>/<product_id>/."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from procir.catalog.annotations import Annotations, make_product
from procir.catalog.findings import Findings
from procir.catalog.views import Fence, Listing, ViewOrder, list_views
from procir.errors import DataError
from procir.types import MAX_VIEWS, Product, ProductKey

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
"""Endings, in lower case, of the files that count as photos in the published layout."""

_NO_DATASET = "products of a dataset without a folder"
_NO_FOLDER = "products without a readable folder"
_NO_IMAGE = "products without an image in their folder"


@dataclass(slots=True)
class Shelf:
    """The products found on disk, with the number of photos of those that have more than are used."""

    images: Path
    order: ViewOrder
    annotations: Annotations
    products: dict[ProductKey, Product] = field(default_factory=dict)
    found: dict[ProductKey, int] = field(default_factory=dict)
    escapes: Findings = field(default_factory=Findings)

    def fill(self) -> None:
        """Look for every product that the annotations name. Raises DataError for links that lead outside."""
        datasets = {key.dataset for key in self.annotations.named}
        fences = {dataset: Fence(self.images, self.images / dataset) for dataset in self._present(datasets)}
        for key in sorted(self.annotations.named, key=lambda key: (key.dataset, key.product_id)):
            fence = fences.get(key.dataset)
            if fence is None:
                self._miss(_NO_DATASET, key)
            else:
                self._place(key, fence)
        if self.escapes:
            raise DataError(f"{self.escapes.describe()}; replace them by what they point to, or remove them")

    def _present(self, datasets: set[str]) -> Iterator[str]:
        return (dataset for dataset in sorted(datasets) if (self.images / dataset).is_dir())

    def _miss(self, reason: str, key: ProductKey) -> None:
        self.annotations.gaps.add(reason, f"{self.annotations.named[key]} ({key})")

    def _place(self, key: ProductKey, fence: Fence) -> None:
        listing = self._listing(key, fence)
        if listing is None:
            return
        for path in listing.escaping:
            self.escapes.add("links that lead outside the images", path)
        if not listing.views:
            self._miss(_NO_IMAGE, key)
            return
        self.products[key] = make_product(key, listing.views, self.annotations)
        if listing.found > MAX_VIEWS:
            self.found[key] = listing.found
            self.annotations.notes.add(f"views beyond the first {MAX_VIEWS}", str(key), listing.found - MAX_VIEWS)

    def _listing(self, key: ProductKey, fence: Fence) -> Listing | None:
        base = self.images / key.dataset
        folder = base / key.product_id
        try:
            if not fence.holds_folder(str(base), key.product_id):
                self.escapes.add("links that lead outside the images", str(folder))
                return None
            return list_views(folder, SUFFIXES, self.order, fence)
        except OSError:
            self._miss(_NO_FOLDER, key)
            return None
