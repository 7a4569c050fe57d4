"""What a source of products offers to an import: products with photos that are read when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol, runtime_checkable

from procir.catalog.findings import Findings
from procir.images import read_image
from procir.types import ProductKey


@runtime_checkable
class Photo(Protocol):
    """One photo of a product; its class can be pickled, for photos are read in worker processes.

    Its repr tells it from other photos, so that an import that goes on knows what it has read.
    """

    @property
    def name(self) -> str:
        """A file name with its ending, by which photos are ordered and their view is guessed."""

    def read(self) -> bytes:
        """The content of an image file; raises ImageError for what cannot be read."""


@dataclass(frozen=True, slots=True)
class FilePhoto:
    """A photo that lies on the disk."""

    path: Path

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def read(self) -> bytes:
        """The file's content; raises ImageError if it cannot be read, or is over the limit of bytes."""
        return read_image(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What is known of a product besides its photos; None where the source does not tell."""

    title: str | None = None
    category: str | None = None
    gender: str | None = None
    colour: str | None = None
    price: str | None = None
    """As the source writes it, with its currency."""
    url: str | None = None
    description: str | None = None
    creator: str | None = None
    """Who made what is shown, where a licence asks for their name."""
    licence: str | None = None


DETAILS = tuple(field.name for field in fields(Details))
"""Names of the fields of `Details`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A product as its source has it; `where` names its place there (file:line, folder, row) for reports."""

    key: ProductKey
    photos: tuple[Photo, ...]
    where: str
    details: Details = field(default_factory=Details)
    split: str | None = None
    """train or val, where the source has splits of its own."""
    views: Mapping[str, str] = field(default_factory=dict)
    """What photos show (front, back, side, detail, full) by their name, where the source tells."""
    captions: Mapping[str, str] = field(default_factory=dict)
    """A text about a photo, by its name, where the source has one; views are guessed from it."""


Source = Callable[[Findings], Iterator[Offer]]
"""Offers in an order that is always the same; what the source leaves out itself is added to the findings.

An import calls it twice: to count and to refuse early, then to read the photos. A key may be offered once only.
"""
