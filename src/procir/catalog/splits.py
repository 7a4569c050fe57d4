"""Product-level splits: no product is on both sides."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from procir.errors import ConfigError
from procir.types import ProductKey, Split


def is_validation(key: ProductKey, share: float) -> bool:
    """Whether a product falls into the validation part; by its key's hash alone, so that growth moves nobody."""
    number = int.from_bytes(sha256(str(key).encode()).digest()[:8], "big")
    return number < share * 2**64


def split_products(split: Split, *, validation_share: float = 0.3) -> tuple[Split, Split, int]:
    """Train and validation parts of a catalogue, and how many triplets cross the border and are in neither.

    What satisfies a request on the other side is left out of its triplet.
    """
    if not 0 < validation_share < 1:
        raise ConfigError(f"validation_share must lie between 0 and 1, not {validation_share}")
    parts = []
    for name in ("train", "val"):
        inside = {key for key in split.products if is_validation(key, validation_share) == (name == "val")}
        parts.append(
            Split(
                name=name,
                products={key: product for key, product in split.products.items() if key in inside},
                captions={key: caption for key, caption in split.captions.items() if key in inside},
                triplets=tuple(
                    replace(t, satisfying=tuple(key for key in t.satisfying if key in inside))
                    for t in split.triplets
                    if t.source in inside and t.target in inside
                ),
            )
        )
    train, val = parts
    return train, val, len(split.triplets) - len(train.triplets) - len(val.triplets)
