"""Modification texts: what a shopper asks for to get from a source to a target (paper, section 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from procir.catalog.atelier.comparison import NEUTRAL, Change, compare, kept, views_involved
from procir.catalog.atelier.garments import Garment
from procir.catalog.atelier.lexicon import (
    agree,
    choose,
    count_words,
    definite,
    fill_slot,
    join,
    number_words,
    sentence,
    strip_article,
)
from procir.catalog.atelier.sampling import generator

SHORT_WORDS = range(16, 33)
"""Allowed words of a short modification text (paper, section A.3)."""

LONG_WORDS = range(64, 129)
"""Allowed words of a long modification text (paper, section A.3)."""

_ALWAYS_SOME = ("cuffs", "hem", "knees", "back waist")
_ATTEMPTS = 80


@dataclass(frozen=True, slots=True)
class Modification:
    """One request in two lengths, and the views that it asks about."""

    short: str
    long: str
    views_involved: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to change: a value, or a pattern together with its color.

    `place` is front, back, side, detail or overall; `old` is None where the source has no such part.
    """

    attribute: str
    old: str | None
    new: str
    place: str
    accent: str | None = None
    old_accent: str | None = None

    @property
    def adds(self) -> bool:
        """Whether a part comes that was not there."""
        if self.old is None:
            return True
        if self.attribute in _ALWAYS_SOME:
            return False
        return self.old in NEUTRAL or (self.attribute == "pattern" and self.old == "solid")

    @property
    def removes(self) -> bool:
        """Whether a part only goes away."""
        if self.attribute in _ALWAYS_SOME:
            return False
        return self.new in NEUTRAL or (self.attribute == "pattern" and self.new == "solid")

    def wanted(self, kind: str, rng: Random) -> str:
        """The new value in words."""
        return choose(kind, self.attribute, self.new, rng, self.accent)

    def given(self, kind: str, rng: Random) -> str:
        """The old value in words, with a definite article."""
        assert self.old is not None, self
        return definite(choose(kind, self.attribute, self.old, rng, self.old_accent))

    def absent(self, kind: str, rng: Random) -> str:
        """The old value in words, without an article, as in `no chest pocket`."""
        assert self.old is not None, self
        return strip_article(choose(kind, self.attribute, self.old, rng, self.old_accent))


def write_modification(source: Garment, target: Garment) -> Modification:
    """The texts for a source and a target of one group that differ visibly; the same pair always gets the same.

    Every difference of `compare` is named in both texts.
    """
    changes = compare(source, target)
    assert changes, "the garments look alike"
    rng = generator("modification", source.seed, target.seed)
    requests = make_requests(changes, source, target)
    short = agree(_write_short(requests, source, rng), source.group)
    long = agree(_write_long(requests, changes, source, target, rng), source.group)
    return Modification(short, long, views_involved(changes))


def make_requests(changes: Sequence[Change], source: Garment, target: Garment) -> tuple[Request, ...]:
    """The changes as requests; a pattern and its color become one."""
    by_name = {change.attribute: change for change in changes}
    requests = []
    for change in changes:
        if change.attribute == "pattern":
            accent = target["accent"] if "accent" in by_name else None
            requests.append(Request("pattern", change.old, change.new, "overall", accent))
        elif change.attribute == "accent":
            if "pattern" not in by_name:
                pattern = target["pattern"]
                requests.append(Request("pattern", pattern, pattern, "overall", target["accent"], source["accent"]))
        else:
            requests.append(Request(change.attribute, change.old, change.new, change.place))
    return tuple(requests)


# Clauses


_ADD = ("add {new}", "give it {new}", "add {new}")
_SWAP = ("replace {old} with {new}", "swap {old} for {new}", "change {old} to {new}", "trade {old} for {new}")
_SET = ("switch to {new}", "go for {new}", "choose {new}", "change to {new}")
_REMOVE = ("remove {old}", "drop {old}", "leave out {old}", "take away {old}")
_COLOR_SWAP = (
    "change the color from {old} to {new}",
    "make it {new} instead of {old}",
    "recolor it from {old} to {new}",
)
_COLOR_SET = ("make it {new}", "change the color to {new}", "switch the color to {new}")


def _order(request: Request, kind: str, rng: Random, *, with_old: bool) -> str:
    """The request as an order: replace the hood with a crew neckline."""
    if request.attribute == "color":
        return rng.choice(_COLOR_SWAP if with_old else _COLOR_SET).format(old=request.old, new=request.new)
    new = request.wanted(kind, rng)
    if request.removes and not request.adds:
        return rng.choice(_REMOVE).format(old=request.given(kind, rng))
    if request.adds:
        return rng.choice(_SET if request.removes else _ADD).format(new=new)
    if with_old:
        return rng.choice(_SWAP).format(old=request.given(kind, rng), new=new)
    return rng.choice(_SET).format(new=new)


def _wish(request: Request, kind: str, rng: Random, *, with_old: bool) -> str:
    """The request as something that the target has: a crew neckline instead of the hood."""
    new = request.wanted(kind, rng)
    if not with_old or request.adds:
        return new
    return f"{new} {rng.choice(('instead of', 'rather than', 'in place of'))} {request.given(kind, rng)}"


def _note(request: Request, kind: str, rng: Random, *, with_old: bool) -> str:
    """The request in telegram style: crew neck instead of hood."""
    if request.attribute == "color":
        return f"{request.new} instead of {request.old}" if with_old else request.new
    new = strip_article(request.wanted(kind, rng))
    if request.removes and not request.adds:
        return f"no {request.absent(kind, rng)}"
    if request.adds or not with_old:
        return new
    return f"{new} instead of {request.absent(kind, rng)}"


# Short texts


_KEEP = (
    "keep everything else",
    "leave the rest as it is",
    "everything else stays the same",
    "the rest should not change",
    "all other details remain as they are",
    "otherwise I want exactly the same design",
    "please do not change anything else about it",
)


def _write_short(requests: Sequence[Request], source: Garment, rng: Random) -> str:
    styles = (_orders, _orders, _wishes, _wishes, _labels, _labels, _notes, _question)
    for _ in range(_ATTEMPTS):
        text = rng.choice(styles)(requests, source, rng)
        if count_words(text) in SHORT_WORDS:
            return text
    return _fit_notes(requests, rng)


def _fit_notes(requests: Sequence[Request], rng: Random) -> str:
    text = sentence(join([_note(request, "compact", rng, with_old=False) for request in requests]))
    for tail in rng.sample(_KEEP, len(_KEEP)):
        if count_words(text) < SHORT_WORDS.start:
            text = f"{text} {sentence(tail)}"
    assert count_words(text) in SHORT_WORDS, text
    return text


def _with_old(requests: Sequence[Request], rng: Random) -> bool:
    return rng.random() < {1: 1.0, 2: 0.8, 3: 0.4}.get(len(requests), 0.15)


def _ending(requests: Sequence[Request], rng: Random) -> str:
    share = {1: 1.0, 2: 0.5, 3: 0.25}.get(len(requests), 0.1)
    return f" {sentence(rng.choice(_KEEP))}" if rng.random() < share else ""


def _shuffled(requests: Sequence[Request], rng: Random) -> list[Request]:
    order = list(requests)
    rng.shuffle(order)
    return (
        sorted(order, key=lambda request: request.attribute not in ("color", "pattern"))
        if rng.random() < 0.7
        else order
    )


def _orders(requests: Sequence[Request], source: Garment, rng: Random) -> str:
    parts = [_order(r, "full", rng, with_old=_with_old(requests, rng)) for r in _shuffled(requests, rng)]
    opening = rng.choice(("", "", "", "Please ", f"Same {source.group.noun}, but "))
    return sentence(opening + join(parts)) + _ending(requests, rng)


_WISH_OPENINGS = (
    "the same {noun} but",
    "like {this} {noun} but",
    "similar to these pictures, but",
    "I want {this} {noun}",
    "looking for the same {noun}",
    "show me {this} {noun}",
)


def _opening(openings: Sequence[str], source: Garment, rng: Random) -> str:
    return rng.choice(openings).format(**number_words(source.group))


def _wishes(requests: Sequence[Request], source: Garment, rng: Random) -> str:
    return sentence(_opening(_WISH_OPENINGS, source, rng) + _wish_list(requests, rng)) + _ending(requests, rng)


def _wish_list(requests: Sequence[Request], rng: Random) -> str:
    order = _shuffled(requests, rng)
    ground = sorted((r for r in order if r.attribute in ("color", "fabric")), key=lambda r: r.attribute)
    lost = [r for r in order if r.removes and not r.adds and rng.random() < 0.75]
    rest = [r for r in order if r not in ground and r not in lost]
    parts = []
    if ground:
        parts.append(f"in {join([r.new for r in ground])}")
    if rest:
        parts.append(f"with {join([_wish(r, 'full', rng, with_old=_with_old(requests, rng)) for r in rest])}")
    if lost:
        parts.append(f"without {join([r.given('full', rng) for r in lost], 'or')}")
    return " " + (", ".join(parts[:-1]) + f", and {parts[-1]}" if len(parts) > 1 else parts[0])


def _question(requests: Sequence[Request], source: Garment, rng: Random) -> str:
    openings = ("do you have {this} {noun}", "is there a version of {this} {noun}", "can I get {this} {noun}")
    text = sentence(_opening(openings, source, rng) + _wish_list(requests, rng))
    return text[:-1] + "?" + _ending(requests, rng)


_LABELS = {"overall": "Overall", "front": "Front", "back": "Back", "side": "Side", "detail": "Details"}


def _labels(requests: Sequence[Request], source: Garment, rng: Random) -> str:
    del source
    orders = rng.random() < 0.5
    parts = []
    for place, label in _LABELS.items():
        here = [request for request in requests if request.place == place]
        if here and orders:
            texts = [_order(r, "bare", rng, with_old=_with_old(requests, rng)) for r in here]
            parts.append(f"{label}: {join(texts)}")
        elif here:
            notes = [_note(r, "bare", rng, with_old=_with_old(requests, rng)) for r in here]
            parts.append(f"{label}: {', '.join(notes)}")
    return sentence(rng.choice((". ", "; ")).join(parts)) + _ending(requests, rng)


def _notes(requests: Sequence[Request], source: Garment, rng: Random) -> str:
    notes = [_note(r, "compact", rng, with_old=_with_old(requests, rng)) for r in _shuffled(requests, rng)]
    openings = ("", "same {one}: ", "{this} {noun}: ", "{this} {noun}, but ")
    return sentence(_opening(openings, source, rng) + ", ".join(notes)) + _ending(requests, rng)


# Long texts


_LONG_OPENINGS = (
    "Start from {this} {noun} and keep {its} general character.",
    "I like the {noun} in these pictures, with a few exceptions.",
    "Compared with {this} {noun}, the {one} I have in mind {is} different in some points.",
    "Take the same {noun} as a starting point.",
    "The {noun} I am looking for {is} close to what is shown here.",
)
_PLACE_FRAMES: Mapping[str, tuple[str, ...]] = {
    "front": ("On the front, {}", "In the front view, {}", "Seen from the front, {}", "At the front, {}"),
    "back": ("On the back, {}", "In the back view, {}", "Seen from the back, {}", "At the back, {}"),
    "side": ("On the side, {}", "In the side view, {}", "Seen from the side, {}", "Along the side, {}"),
    "detail": ("In the details, {}", "In the detail view, {}", "Where details are shown close up, {}"),
    "overall": ("On {views} alike, {}", "In the {views} views, {}", "On both {views}, {}"),
}
_LONG_LABELS = {"front": "Front", "back": "Back", "side": "Side", "detail": "Detail"}
_LONG_KEEP = (
    "Keep {}, because these parts are right already.",
    "Please retain {} from the original.",
    "These parts should stay: {}.",
    "I would like to keep {} exactly as shown.",
)
_LONG_ENDINGS = (
    "Everything that is not mentioned here should stay as it is in the pictures.",
    "Apart from that, no other part of the design should be changed.",
    "All remaining details ought to match the original as closely as possible.",
    "The general proportions and the finish of the original remain as they are.",
    "These points together make the piece that I want to find.",
    "Every view named here matters, so a match on one of them is not enough.",
)


def _write_long(
    requests: Sequence[Request], changes: Sequence[Change], source: Garment, target: Garment, rng: Random
) -> str:
    common = next((view for view in ("back", "side") if any(view in change.views for change in changes)), None)
    everywhere = f"front and {common}" if common else "front"
    opening = _opening(_LONG_OPENINGS, source, rng)
    labelled = rng.random() < 0.35
    body = _labelled(requests, everywhere, rng) if labelled else _told(requests, everywhere, rng)
    endings = _keeping(requests, source, target, rng) + rng.sample(_LONG_ENDINGS, len(_LONG_ENDINGS))
    parts = [opening, body]
    aim = min(max(LONG_WORDS.start, round(rng.gauss(77, 8))), LONG_WORDS.stop - 24)
    while count_words(" ".join(parts)) < aim and endings:
        parts.append(endings.pop(0))
    text = " ".join(parts)
    if count_words(text) >= LONG_WORDS.stop:
        text = body
    assert count_words(text) in LONG_WORDS, text
    return text


def _by_place(requests: Sequence[Request]) -> list[tuple[str, list[Request]]]:
    places = ("overall", "front", "back", "side", "detail")
    grouped = [(place, [request for request in requests if request.place == place]) for place in places]
    return [(place, here) for place, here in grouped if here]


def _told(requests: Sequence[Request], everywhere: str, rng: Random) -> str:
    sentences = []
    for place, here in _by_place(requests):
        orders = join(
            [_order(request, "bare" if place != "overall" else "full", rng, with_old=True) for request in here]
        )
        frame = rng.choice(_PLACE_FRAMES[place])
        sentences.append(sentence(frame.replace("{views}", everywhere).format(orders)))
    return " ".join(sentences)


def _labelled(requests: Sequence[Request], everywhere: str, rng: Random) -> str:
    parts = []
    for place, here in _by_place(requests):
        label = everywhere.capitalize() if place == "overall" else _LONG_LABELS[place]
        parts.append(f"{label}: {join([_order(request, 'bare', rng, with_old=True) for request in here])}")
    return sentence("; ".join(parts))


def _keeping(requests: Sequence[Request], source: Garment, target: Garment, rng: Random) -> list[str]:
    asked = {request.attribute for request in requests} | {"pattern", "accent", "color", "fabric"}
    same = [name for name, value in kept(source, target).items() if name not in asked and value not in NEUTRAL]
    rng.shuffle(same)
    frames = rng.sample(_LONG_KEEP, 2)
    told = []
    for frame, names in zip(frames, (same[:3], same[3:5]), strict=True):
        if names:
            phrases = [definite(fill_slot(choose("full", name, source[name], rng), None)) for name in names]
            told.append(sentence(frame.format(join(phrases))))
    return told
