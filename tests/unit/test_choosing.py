"""Which photos become views, in which order, and what they are thought to show."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from procir.catalog.choosing import Guess, ViewRules, candidates, guess_view, view_in_caption
from procir.catalog.offers import Offer
from procir.types import ProductKey


@dataclass(frozen=True)
class Named:
    name: str

    def read(self) -> bytes:
        raise AssertionError("nothing is read to choose")


def names(found) -> list[str]:
    return [candidate.photo.name for candidate in found]


def chosen(*photos: str, views=None, **rules) -> list[str]:
    offer = Offer(key=ProductKey("d", "p"), photos=tuple(map(Named, photos)), where="here", views=views or {})
    return names(candidates(offer, ViewRules(**rules)))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("given", ["b.jpg", "10.jpg", "2.jpg"]),
        ("released", ["10.jpg", "2.jpg", "b.jpg"]),
        ("natural", ["2.jpg", "10.jpg", "b.jpg"]),
    ],
)
def test_orders(order, expected):
    assert chosen("b.jpg", "10.jpg", "2.jpg", order=order) == expected


def test_one_of_each_type_comes_first():
    photos = ("1.jpg", "2_detail.jpg", "3_detail.jpg", "4_full.jpg", "5_side.jpg", "6_back.jpg", "7_front.jpg")
    assert chosen(*photos) == [
        "7_front.jpg", "6_back.jpg", "5_side.jpg", "4_full.jpg", "2_detail.jpg", "1.jpg", "3_detail.jpg",
    ]  # fmt: skip
    assert chosen(*photos, choose="first") == list(photos)


def test_the_source_is_believed_first():
    assert chosen("1.jpg", "2.jpg", "3_front.jpg", views={"2.jpg": "front", "1.jpg": "unheard of"}) == [
        "2.jpg", "1.jpg", "3_front.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("1_front.jpg", Guess("front", 0.9, "file name")),
        ("07_additional.jpg", Guess("detail", 0.9, "file name")),
        ("front_detail.jpg", Guess("detail", 0.6, "file name")),
        ("rear.png", Guess("back", 0.7, "file name")),
        ("Dress-close-up.png", Guess("detail", 0.7, "file name")),
        ("left.png", Guess("side", 0.7, "file name")),
        ("backpack.png", None),
        ("IMG_0012.JPG", None),
        ("", None),
    ],
)
def test_file_names(name, guess):
    assert guess_view(name, {}, {}) == guess


@pytest.mark.parametrize(
    ("caption", "guess"),
    [
        ("Back view: a zip from neck to waist.", Guess("back", 0.8, "caption")),
        ("The dress FROM BEHIND", Guess("back", 0.8, "caption")),
        ("A full-length shot", Guess("full", 0.8, "caption")),
        ("close-up of the collar", Guess("detail", 0.8, "caption")),
        ("Side view, not the front view", Guess("side", 0.6, "caption")),
        ("A zip at the back", None),
        ("", None),
    ],
)
def test_captions(caption, guess):
    assert view_in_caption(caption) == guess


def test_source_then_caption_then_name():
    captions = {"1_front.jpg": "seen from the side"}
    assert guess_view("1_front.jpg", {"1_front.jpg": "back"}, captions) == Guess("back", 1.0, "source")
    assert guess_view("1_front.jpg", {}, captions) == Guess("side", 0.8, "caption")
