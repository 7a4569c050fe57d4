"""Whether pictures of a request are the photos of its products."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from procir.catalog.atelier.catalogue import view_path
from procir.catalog.atelier.garments import Garment
from procir.catalog.likeness import UNLIKE, SmallCopy, difference, small_copy
from procir.errors import BadQuestionError, ImageError
from procir.images import load_image
from procir.types import ProductKey


class Album:
    """The photos of a drawn catalogue, each opened when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._thumbs: dict[tuple[ProductKey, int], SmallCopy] = {}

    def check(self, key: ProductKey, garment: Garment, pictures: Sequence[bytes], *, stitched: bool) -> None:
        """One picture a view, or one of all views beside each other. Raises BadQuestionError naming the wrong one."""
        views = garment.views
        try:
            images = [load_image(content) for content in pictures]
        except ImageError as error:
            raise BadQuestionError(f"a picture of {key} cannot be read: {error}") from error
        if stitched:
            images = _cut(images[0], len(views))
        for number, (view, image) in enumerate(zip(views, images, strict=True), start=1):
            unlike = difference(small_copy(image), self._expected(key, number, view))
            if unlike > UNLIKE:
                raise BadQuestionError(
                    f"view {number} of {key} is not its photo {view_path(self._root, key, number, view).name}: their "
                    f"mean difference is {unlike:.1f}, over {UNLIKE}; check which pictures are sent, and their order"
                )

    def _expected(self, key: ProductKey, number: int, view: str) -> SmallCopy:
        if (key, number) not in self._thumbs:
            self._thumbs[key, number] = small_copy(load_image(view_path(self._root, key, number, view)))
        return self._thumbs[key, number]


def _cut(image: Image.Image, count: int) -> list[Image.Image]:
    """A stitched picture in its views; those of drawn garments are all of one size."""
    width, height = image.size
    return [image.crop((width * i // count, 0, width * (i + 1) // count, height)) for i in range(count)]
