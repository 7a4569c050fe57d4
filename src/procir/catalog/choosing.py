"""Which photos of a product become its views: their order, what each shows, and which are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from procir.catalog.offers import Offer, Photo
from procir.catalog.views import VIEW_NAMES, sort_key, view_name, view_words
from procir.errors import ConfigError
from procir.types import MAX_VIEWS

PhotoOrder = Literal["given", "released", "natural"]
"""given: as the source has it; released: file names as text, 10 before 2; natural: 2 before 10."""

_HOUSE, _SYNONYM, _SAID, _UNCLEAR = 0.9, 0.7, 0.8, 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRules:
    """How views are chosen among the photos of a product; raises ConfigError for bounds that cannot work."""

    order: PhotoOrder = "natural"
    """Order of a product's photos: given (as the source has it), released (file names as text, 10 before 2), natural
    (2 before 10)."""
    choose: Literal["types", "first"] = "types"
    """Which photos are kept where there are too many: types (the first front, back, side, full and detail that are
    known, then the others in order) or first (the first in order); those kept stay in order."""
    most: int = MAX_VIEWS
    """Most views of a product; photos beyond them are not opened."""
    least: int = 1
    """Fewest views of a product; others are left out."""
    smallest_side: int = 1
    """Fewest pixels of a photo's shorter side; smaller photos are left out."""
    keep_alike: bool = False
    """Keep photos that look like another of the product; equal files are kept once in any case."""

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most <= MAX_VIEWS:
            raise ConfigError(
                f"at least {self.least} and at most {self.most} views: choose 1 to {MAX_VIEWS}, the least no more "
                "than the most"
            )
        if self.smallest_side < 1:
            raise ConfigError(f"smallest_side is {self.smallest_side}: a photo has at least one pixel")


@dataclass(frozen=True, slots=True)
class Guess:
    """What a photo shows, how sure that is (0 to 1), and how it is known: source, caption or file name."""

    view: str
    confidence: float
    known_by: Literal["source", "caption", "file name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A photo, its place in the product's order, and what it is thought to show."""

    photo: Photo
    place: int
    guess: Guess | None


def candidates(offer: Offer, rules: ViewRules) -> list[Candidate]:
    """A product's photos with what they show, those first that the rules prefer."""
    photos = ordered(offer.photos, rules.order)
    found = [
        Candidate(photo=photo, place=place, guess=guess_view(photo.name, offer.views, offer.captions))
        for place, photo in enumerate(photos)
    ]
    return _types_first(found) if rules.choose == "types" else found


def ordered(photos: Sequence[Photo], order: PhotoOrder) -> list[Photo]:
    """The photos in the order that is asked for."""
    if order == "given":
        return list(photos)
    key = sort_key(order)
    return sorted(photos, key=lambda photo: key(photo.name))


def _types_first(found: list[Candidate]) -> list[Candidate]:
    first: dict[str, Candidate] = {}
    for candidate in found:
        if candidate.guess is not None:
            first.setdefault(candidate.guess.view, candidate)
    telling = [first[view] for view in VIEW_NAMES if view in first]
    places = {candidate.place for candidate in telling}
    return telling + [candidate for candidate in found if candidate.place not in places]


def guess_view(name: str, views: Mapping[str, str], captions: Mapping[str, str]) -> Guess | None:
    """What a photo shows: as the source says, else as its caption or its file name lets one guess; None if nothing."""
    if views.get(name) in VIEW_NAMES:
        return Guess(views[name], 1.0, "source")
    return view_in_caption(captions.get(name, "")) or _view_in_name(name.rpartition(".")[0] or name)


_SYNONYMS = {"rear": "back", "left": "side", "right": "side", "profile": "side", "closeup": "detail",
             "zoom": "detail", "macro": "detail"}  # fmt: skip
_SYNONYM_WORD = re.compile(f"(?<![a-z])({'|'.join(_SYNONYMS)})(?![a-z])")


def _view_in_name(stem: str) -> Guess | None:
    house = view_name(stem)
    if house is not None:
        clear = len(set(view_words(stem))) == 1
        return Guess(house, _HOUSE if clear else _UNCLEAR, "file name")
    words = _SYNONYM_WORD.findall(stem.lower().replace("close-up", "closeup").replace("close_up", "closeup"))
    return Guess(_SYNONYMS[words[-1]], _SYNONYM, "file name") if words else None


_PHRASES = {
    "front": r"front(?:al)? view|from the front|view of the front",
    "back": r"(?:back|rear) view|from (?:the back|the rear|behind)|view of the back",
    "side": r"side view|from the side|in profile|profile view",
    "full": r"full[- ](?:length|body|view)",
    "detail": r"close[- ]?up|detail(?:ed)? view|detail shot|view of a detail",
}
_PHRASE = re.compile("|".join(rf"\b(?P<{view}>{words})\b" for view, words in _PHRASES.items()), re.IGNORECASE)


def view_in_caption(caption: str) -> Guess | None:
    """What a text such as "Back view: the zip ..." says that its photo shows; the first phrase counts."""
    found = [match.lastgroup for match in _PHRASE.finditer(caption)]
    if not found or found[0] is None:
        return None
    return Guess(found[0], _SAID if len(set(found)) == 1 else _UNCLEAR, "caption")
