"""Captions of drawn garments: one text an image, a long and a short one for the product (paper, section 3.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

from procir.catalog.atelier.comparison import NEUTRAL
from procir.catalog.atelier.garments import PLANS, Garment, applies, visible
from procir.catalog.atelier.lexicon import (
    articles,
    choose,
    count_words,
    is_plural,
    join,
    number_words,
    possessive,
    sentence,
)
from procir.catalog.atelier.remarks import CLOSINGS, GENERAL, OF_FABRIC, OF_PLAN, OF_VIEW, SYMMETRIC
from procir.catalog.atelier.sampling import generator
from procir.types import Caption, ProductKey

IMAGE_WORDS = range(50, 201)
"""Allowed words of a caption of one image (paper, section A.1)."""

LONG_WORDS = range(200, 401)
"""Allowed words of a long caption (paper, section A.1)."""

SHORT_WORDS = range(35, 61)
"""Allowed words of a short caption; the paper asks for about 50 and gets 39 on average."""

SURFACE = ("color", "pattern", "accent", "fabric")
TOPICS: Mapping[str, tuple[str, ...]] = {
    "shape": ("fit", "skirt", "leg", "length"),
    "neck": ("neckline",),
    "arms": ("sleeves", "cuffs", "armband"),
    "front": ("closure", "chest", "waist", "front pockets", "slit", "knees"),
    "back": ("back", "back waist", "back pockets"),
    "hem": ("hem",),
    "side": ("side",),
    "trim": ("stitching", "hardware"),
}
"""What one sentence speaks of; together with `SURFACE` these are all attributes."""

_FRAMES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "shape": (
        "full",
        (
            "The cut is defined by {}, which sets the overall silhouette",
            "In outline, the design combines {}",
            "The silhouette is built on {}, and this is what one notices first",
            "The overall shape comes from {}",
        ),
    ),
    "neck": (
        "full",
        (
            "The neck opening is finished with {}, which frames the face",
            "At the top, the design has {}",
            "Around the neck, the design is completed by {}",
            "The upper edge is shaped by {}, set in neatly",
        ),
    ),
    "arms": (
        "full",
        (
            "The arms are designed with {}",
            "For the arms, the design uses {}, cut to move easily",
            "At the arms, the piece has {}",
            "Around the arms, the piece is worked with {}",
        ),
    ),
    "front": (
        "bare",
        (
            "The front shows {}",
            "Across the front, the piece has {}, laid out in a clear order",
            "The front is designed with {}",
            "On the front, the design has {}",
        ),
    ),
    "back": (
        "bare",
        (
            "The back is designed with {}",
            "At the back, the piece has {}, which gives the rear its own character",
            "The back shows {}",
            "On the back, the design has {}",
        ),
    ),
    "hem": (
        "full",
        (
            "The lower edge ends in {}",
            "At the bottom, the piece closes with {}",
            "The design is finished below with {}, sewn cleanly",
            "The lower edge is worked as {}",
        ),
    ),
    "side": (
        "bare",
        (
            "Along the side, the piece has {}, running in line with the body",
            "The side is worked with {}",
            "At the side, the design has {}",
            "Where front and back meet, the piece has {}",
        ),
    ),
    "trim": (
        "full",
        (
            "The finer details include {}",
            "Looked at closely, the piece is worked with {}, chosen to suit the material",
            "The finishing relies on {}",
        ),
    ),
}  # fmt: skip

_SLEEVELESS = (
    "The cut is sleeveless, with clean armholes.",
    "The piece is sleeveless and leaves the arms free.",
    "It is sleeveless, and the armholes are finished smoothly.",
)
_SOLID = (
    "It comes in solid {color}, made from {fabric} throughout",
    "The material is {fabric} in solid {color}, without any print",
    "The whole piece is kept in one solid {color}, cut from {fabric}",
)
_PATTERNED = (
    "The {color} ground carries {pattern}, and the material is {fabric}",
    "It is made from {fabric} in {color}, decorated all over with {pattern}",
    "Cut from {fabric}, the piece combines a {color} ground with {pattern}",
)
_VIEW_OPENINGS: Mapping[str, tuple[str, ...]] = {
    "front": (
        "This is the front view of {piece}, so the left of the image is the wearer's right",
        "Front view of {piece}; what lies left in the image is on the wearer's right",
        "I can see the front view of {piece}, with the wearer's right on the left of the image",
    ),
    "side": (
        "This is a side view of {piece}, taken from the wearer's left",
        "Side view of {piece}, showing the wearer's left side",
        "I can see a side view of {piece}, with the wearer's left side turned to the camera",
    ),
    "back": (
        "This is the back view of {piece}, so the left of the image is the wearer's left",
        "Back view of {piece}; left and right in the image are the wearer's own",
        "I can see the back view of {piece}, with the wearer's left on the left of the image",
    ),
    "detail": (
        "This is a detail view of {piece}, taken at close range",
        "Detail view of {piece}, concentrating on material and finish",
        "I can see a detail view, a close-up of {piece}",
    ),
    "full": (
        "This is a full view of {piece} as part of an outfit, seen from the front, so the left of the image is the "
        "wearer's right",
        "Full front view of {piece}, worn as an outfit; the left of the image is the wearer's right",
        "I can see a full view of {piece} worn from the front, with the wearer's right on the left of the image",
    ),
}
_VIEW_WORDS = {"front": 117, "side": 104, "back": 108, "detail": 88, "full": 118}
_LONG_OPENINGS = (
    "{This} {whose} {noun} {is} made for everyday wear and {has} a clear, well composed design",
    "{This} {noun} for {gender} {combines} a familiar type of garment with details of {its} own",
    "Designed for {gender}, {this} {noun} {brings} together practical cut and considered detail",
    "{This} {whose} {noun} {offers} a clean design in which each part has its place",
)
_DETAILS_LAST = {"fit": 1, "stitching": 2, "hardware": 3}


def describe(key: ProductKey, garment: Garment) -> Caption:
    """All captions of a garment; the same garment always gets the same."""
    rng = generator("captions", garment.seed)
    images = tuple(_describe_view(number, view, garment, rng) for number, view in enumerate(garment.views, start=1))
    return Caption(key, _describe_long(garment, rng), _describe_short(garment, rng), images)


def shown_on(view: str, garment: Garment) -> dict[str, str]:
    """The values that one view shows, in drawing order. A band on the far sleeve does not show from the side."""
    shown = {
        attribute.name: garment[attribute.name]
        for attribute in PLANS[garment.group.plan]
        if view in attribute.views and applies(attribute.name, garment.values)
    }
    if view == "side" and shown.get("armband") == "right sleeve":
        del shown["armband"]
    return shown


def wearers_side(value: str) -> str | None:
    """left or right for values that stand on one side of the wearer."""
    found = re.search(r"\b(left|right)\b", value)
    return found[1] if found else None


def _describe_view(number: int, view: str, garment: Garment, rng: Random) -> str:
    shown = shown_on(view, garment)
    sided = {name: value for name, value in shown.items() if wearers_side(value) and view != "side"}
    piece = _piece(garment, rng)
    sentences = [sentence(rng.choice(_VIEW_OPENINGS[view]).format(piece=piece)), _surface(shown, rng)]
    plain = {name: value for name, value in shown.items() if name not in sided}
    sentences += _topic_sentences(plain, rng)
    last = [_place_in_image(name, value, view, rng) for name, value in sided.items()]
    aim = max(IMAGE_WORDS[0] + 8, round(rng.gauss(_VIEW_WORDS[view], 12)))
    spare = [*OF_VIEW[view], *OF_FABRIC[shown["fabric"]]]
    rng.shuffle(spare)
    used = count_words(" ".join(sentences + last)) + 2
    filling = _fill(spare, aim - used)
    return f"[Image {number}] {' '.join(sentences + filling + last)}"


def _piece(garment: Garment, rng: Random) -> str:
    noun = f"{possessive(garment.group)} {garment['color']} {garment.group.noun}"
    if is_plural(garment.group):
        return f"a pair of {noun}"
    return rng.choice((f"a {noun}", f"a {garment['color']} {garment.group.noun} for {garment.group.gender}"))


def _surface(shown: Mapping[str, str], rng: Random) -> str:
    fabric = choose("full", "fabric", shown["fabric"], rng)
    if shown["pattern"] == "solid":
        return sentence(rng.choice(_SOLID).format(color=shown["color"], fabric=fabric))
    pattern = choose("full", "pattern", shown["pattern"], rng, shown["accent"])
    return sentence(rng.choice(_PATTERNED).format(color=shown["color"], pattern=pattern, fabric=fabric))


def _topic_sentences(shown: Mapping[str, str], rng: Random) -> list[str]:
    sentences = []
    for topic, names in TOPICS.items():
        kind, frames = _FRAMES[topic]
        if topic == "arms" and shown.get("sleeves") == "sleeveless":
            sentences.append(rng.choice(_SLEEVELESS))
            continue
        phrases = [choose(kind, name, shown[name], rng) for name in names if name in shown]
        if phrases:
            adorned = any(name in shown and shown[name] not in NEUTRAL for name in names)
            fitting = frames if adorned else [frame for frame in frames if frame.endswith("{}")]
            sentences.append(sentence(rng.choice(fitting).format(join(phrases))))
    return sentences


def _place_in_image(name: str, value: str, view: str, rng: Random) -> str:
    side = wearers_side(value)
    assert side, value
    other = {"left": "right", "right": "left"}[side]
    in_image = side if view == "back" else other
    if name == "hem":
        hem_frames = (
            "The hem is slanted and reaches lower on the {} of the image, which is the wearer's {}",
            "The slanted hem drops towards the {} of the image, that is, the wearer's {}",
        )
        return sentence(rng.choice(hem_frames).format(in_image, side))
    phrase = choose("full", name, value, rng)
    frames = (
        f"{phrase} can be seen on the {in_image} side of the image",
        f"on the {in_image} side of the image there is {phrase}",
        f"the asymmetry lies on the {in_image} of the image, where there is {phrase}",
    )
    return sentence(rng.choice(frames))


def _fill(spare: Sequence[str], missing: int) -> list[str]:
    chosen: list[str] = []
    while missing > 0 and len(chosen) < len(spare):
        chosen.append(spare[len(chosen)])
        missing -= count_words(chosen[-1])
    return chosen


def _describe_long(garment: Garment, rng: Random) -> str:
    shown = visible(garment)
    sentences = [_long_opening(garment, rng), _surface(shown, rng), *_topic_sentences(shown, rng)]
    spare = [*GENERAL, *OF_FABRIC[shown["fabric"]], *OF_PLAN[garment.group.plan]]
    if not any(wearers_side(value) for value in shown.values()):
        spare.append(rng.choice(SYMMETRIC))
    rng.shuffle(spare)
    aim = max(LONG_WORDS[0] + 3, round(rng.gauss(214, 10)))
    return " ".join(sentences + _fill(spare, aim - count_words(" ".join(sentences))))


def _long_opening(garment: Garment, rng: Random) -> str:
    words = number_words(garment.group)
    opening = rng.choice(_LONG_OPENINGS)
    return sentence(opening.format(**words, whose=possessive(garment.group), gender=garment.group.gender))


def _describe_short(garment: Garment, rng: Random) -> str:
    shown = visible(garment)
    told = [name for names in TOPICS.values() for name in names if name in shown and shown[name] not in NEUTRAL]
    untold = [name for names in TOPICS.values() for name in names if name in shown and shown[name] in NEUTRAL]
    rng.shuffle(untold)
    text = _short_text(garment, shown, told, rng)
    while count_words(text) >= SHORT_WORDS.stop:
        told.remove(max(told, key=lambda name: _DETAILS_LAST.get(name, 0)))
        text = _short_text(garment, shown, told, rng)
    while count_words(text) < SHORT_WORDS.start and untold:
        told.append(untold.pop())
        text = _short_text(garment, shown, told, rng)
    spare = list(CLOSINGS)
    rng.shuffle(spare)
    return " ".join([text, *_fill(spare, rng.randrange(35, 42) - count_words(text))])


def _short_text(garment: Garment, shown: Mapping[str, str], told: Sequence[str], rng: Random) -> str:
    head = f"{shown['color']} {possessive(garment.group)} {garment.group.noun} in {shown['fabric']}"
    items = [choose("compact", name, shown[name], rng) for names in TOPICS.values() for name in names if name in told]
    if shown["pattern"] != "solid":
        items.insert(0, choose("compact", "pattern", shown["pattern"], rng, shown["accent"]))
    else:
        head = f"solid {head}"
    half = max(1, (len(items) + 1) // 2)
    verb = rng.choice(("Features", "Detailed with", "Finished with", "Also has"))
    first = sentence(f"{head} with {join(items[:half])}")
    return f"{first} {sentence(f'{verb} {join(items[half:])}')}" if items[half:] else articles(first)
