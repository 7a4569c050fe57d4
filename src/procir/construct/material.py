"""What the stages ask about: products with the hashes of their photos, and the captions that stage 1 gave them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from procir.annotators.ledger import PaidAnswers, Seen
from procir.construct.panorama import Panorama, panorama
from procir.construct.prompts.schemas import CaptionAnswer
from procir.construct.questions import Described
from procir.errors import DataError
from procir.pieces import pieces
from procir.types import Caption, Product, ProductKey

CHUNK = 256
"""Products that are looked up at once."""

Skip = Callable[[str, str], None]
"""Told (item, reason) of what cannot be asked about."""


@dataclass(frozen=True, slots=True)
class Material:
    """A product, and what is known of the file of each of its views."""

    product: Product
    views: tuple[Seen, ...]

    def panorama(self) -> Panorama:
        """All views in one picture. Raises ImageError for a view that is no picture."""
        return panorama([view.path for view in self.product.views], self.views)


def materials(ledger: PaidAnswers, products: Iterable[Product], skip: Skip) -> Iterator[Material]:
    """The products with what is known of their views; those with an unreadable view are skipped with the reason."""
    for chunk in pieces(products, CHUNK):
        yield from _hashed(ledger, chunk, skip)


def _hashed(ledger: PaidAnswers, products: Sequence[Product], skip: Skip) -> Iterator[Material]:
    try:
        seen = iter(ledger.pictures(view.path for product in products for view in product.views))
    except DataError as error:
        if len(products) == 1:
            skip(str(products[0].key), str(error))
            return
        for product in products:
            yield from _hashed(ledger, [product], skip)
        return
    for product in products:
        yield Material(product, tuple(islice(seen, len(product.views))))


class Captioned:
    """The products that stage 1 captioned, in key order; their texts stay in the ledger until they are asked for."""

    def __init__(
        self,
        ledger: PaidAnswers,
        products: Mapping[ProductKey, Product],
        keys: Mapping[ProductKey, str],
        schema: type[CaptionAnswer],
    ) -> None:
        self._ledger = ledger
        self._products = products
        self._keys = dict(sorted(keys.items()))
        self._schema = schema

    @property
    def keys(self) -> tuple[ProductKey, ...]:
        """The products."""
        return tuple(self._keys)

    def product(self, key: ProductKey) -> Product:
        """A product and its views."""
        return self._products[key]

    def only(self, kept: Iterable[ProductKey]) -> Captioned:
        """The same, reduced to some of the products."""
        return Captioned(self._ledger, self._products, {key: self._keys[key] for key in kept}, self._schema)

    def captions(self, keys: Sequence[ProductKey]) -> Iterator[Caption]:
        """The captions of products, in the order asked for."""
        for part in pieces(keys, CHUNK):
            known = self._ledger.known([self._keys[key] for key in part])
            for key in part:
                answer = known[self._keys[key]].answer
                assert answer is not None, key
                found = self._schema.model_validate_json(answer)
                yield Caption(key, found.long_caption, found.short_caption, found.image_captions)

    def described(self, keys: Sequence[ProductKey], skip: Skip) -> Iterator[Described]:
        """Products as stages 2 and 3 see them, in the order asked for; unreadable ones are skipped."""
        for part in pieces(keys, CHUNK):
            captions = {caption.key: caption for caption in self.captions(part)}
            for material in materials(self._ledger, [self._products[key] for key in part], skip):
                described = _describe(material, captions[material.product.key], skip)
                if described is not None:
                    yield described


class StoredCaptions(Mapping[ProductKey, Caption]):
    """The captions of products as a mapping in key order, in the ledger but for a few: it must stay open."""

    def __init__(self, captioned: Captioned) -> None:
        self._places = {key: place for place, key in enumerate(captioned.keys)}
        keys = captioned.keys

        @lru_cache(maxsize=4)
        def page(number: int) -> tuple[Caption, ...]:
            return tuple(captioned.captions(keys[number * CHUNK : (number + 1) * CHUNK]))

        self._page = page

    def __getitem__(self, key: ProductKey) -> Caption:
        number, place = divmod(self._places[key], CHUNK)
        return self._page(number)[place]

    def __iter__(self) -> Iterator[ProductKey]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _describe(material: Material, caption: Caption, skip: Skip) -> Described | None:
    try:
        return Described(caption=caption, panorama=material.panorama())
    except DataError as error:
        skip(str(caption.key), str(error))
        return None
