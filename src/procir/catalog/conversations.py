"""The conversations of supervised fine-tuning, free of any model's or library's format (paper, sections 4.8, D.3).

Task 1   [user: views]         [assistant: think{image captions}, JSON of long and short caption]
Task 2   [user: source views]  [assistant: think{source's long caption}, embedding]
         [user: target views]  [assistant: think{target's long caption}, embedding]
         [user: request]       [assistant: think{}, JSON of views involved, long and short text]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from procir.catalog.findings import Findings
from procir.errors import ConfigError
from procir.types import Caption, Product, Split, Triplet, View

SHARE = 0.2
"""How much of the products and of the triplets is drawn (section 4.8)."""

CAPTION_SYSTEM = (
    "You are shown several photos of one product. Describe them one by one: which side each photo shows, and what "
    'can be seen there. Then answer with a JSON object: "long_caption" describes the whole product as all photos '
    'together show it, "short_caption" names what sets it apart in a sentence or two.'
)
"""The system message of task 1."""

MODIFICATION_REQUEST = (
    "What should be different about the first product to arrive at the second? Answer with a JSON object: "
    '"views_involved" names the views in which the differences show, "modification_text_long" says them in detail, '
    '"modification_text_short" as one would type them into a search box.'
)
"""The last message of the user in task 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the user shows or says, and what the assistant thinks and answers.

    Without an `answer` the turn ends with the embedding token.
    """

    views: tuple[View, ...] = ()
    request: str = ""
    thought: str = ""
    answer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation to learn from; `name` says which product or triplet it is about."""

    name: str
    system: str | None
    turns: tuple[Turn, ...]


def image_label(number: int) -> str:
    """What stands before a photo, and at the start of its caption; numbers count from 1."""
    return f"[Image {number}]"


def caption_conversations(
    split: Split, findings: Findings, *, seed: int, share: float = SHARE
) -> Iterator[Conversation]:
    """Task 1 for a draw of the split's captioned products, in key order.

    Products whose views have no caption each are counted and left out.
    """
    drawn = _drawing("caption", seed, share)
    for key, caption in sorted(split.captions.items()):
        if not drawn(str(key)):
            continue
        product = split.products[key]
        if len(caption.images) != len(product.views):
            findings.add("products without a caption of each view", str(key))
            continue
        yield _describe(product, caption)


def triplet_conversations(
    split: Split, findings: Findings, *, seed: int, share: float = SHARE
) -> Iterator[Conversation]:
    """Task 2 for a draw of the split's triplets, in their order.

    Triplets without a long text or without the captions of both products are counted and left out.
    """
    drawn = _drawing("triplet", seed, share)
    for triplet in split.triplets:
        name = f"{triplet.source} -> {triplet.target}"
        if not drawn(f"{name}: {triplet.short}"):
            continue
        if triplet.long is None:
            findings.add("triplets without a long modification text", name)
        elif triplet.source not in split.captions or triplet.target not in split.captions:
            findings.add("triplets of products without a caption", name)
        else:
            yield _modify(split, triplet, triplet.long, name)


def _drawing(task: str, seed: int, share: float) -> Callable[[str], bool]:
    """Whether a name is drawn: by seed, task and name alone, so that growth changes no other's lot."""
    if not 0 < share <= 1:
        raise ConfigError(f"a share of {share}: draw more than 0 and at most 1 of the data")

    def drawn(name: str) -> bool:
        digest = sha256(f"{task}\0{seed}\0{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64

    return drawn


def _describe(product: Product, caption: Caption) -> Conversation:
    thought = "\n".join(_labelled(number, text) for number, text in enumerate(caption.images, start=1))
    answer = _json(long_caption=caption.long, short_caption=caption.short)
    turn = Turn(views=product.views, thought=thought, answer=answer)
    return Conversation(name=str(product.key), system=CAPTION_SYSTEM, turns=(turn,))


def _labelled(number: int, text: str) -> str:
    label = image_label(number)
    return text if text.startswith(label) else f"{label} {text}"


def _modify(split: Split, triplet: Triplet, long: str, name: str) -> Conversation:
    shown = [
        Turn(views=split.products[key].views, thought=split.captions[key].long)
        for key in (triplet.source, triplet.target)
    ]
    answer = _json(
        views_involved=list(triplet.views_involved),
        modification_text_long=long,
        modification_text_short=triplet.short,
    )
    return Conversation(name=name, system=None, turns=(*shown, Turn(request=MODIFICATION_REQUEST, answer=answer)))


def _json(**content: object) -> str:
    return json.dumps(content, ensure_ascii=False)
