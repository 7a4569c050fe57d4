"""A data set from a catalogue: all three stages, splits, and what became of every product (paper, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from procir.annotators.run import Annotator
from procir.catalog.findings import Findings
from procir.catalog.products import SPLITS, Stock
from procir.catalog.splits import is_validation
from procir.construct.caption import caption
from procir.construct.material import Captioned
from procir.construct.questions import CAPTION, TRIPLETS, VERIFY
from procir.construct.triplets import make_triplets, mine_candidates
from procir.construct.verdicts import Verdict
from procir.construct.verify import verify
from procir.construct.work import Work
from procir.errors import MissingDataError
from procir.protocols import Embedder
from procir.types import Caption, ProductKey, Split, Triplet

STAGES = (CAPTION, VERIFY, TRIPLETS)

LoadEmbedder = Callable[[], tuple[Embedder, str]]
"""Gives the embedder of stage 3's candidates and its fingerprint; called when stage 3 begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Construction:
    """The splits, the verdict on every checked product, and what was left out, counted by reason.

    `removed` are the captions of products that the check removed.
    """

    splits: Mapping[str, Split]
    verdicts: tuple[Verdict, ...]
    removed: tuple[Caption, ...]
    left_out: Findings


async def construct(
    work: Work,
    annotators: Mapping[str, Annotator],
    stock: Stock,
    load_embedder: LoadEmbedder,
    folder: Path,
    *,
    picture_side: int,
    validation_share: float,
    seed: int,
) -> Construction:
    """Run or go on with all stages; `folder` keeps the batches of stage 2 and the embeddings of stage 3.

    `annotators` has one for each of `STAGES`. Raises ExhaustedError, ConfigError and LedgerError, after which another
    call goes on; MissingDataError if no product is left.
    """
    left_out = Findings()
    captions = await caption(work, annotators[CAPTION], stock.products, picture_side)
    for key in captions.outside:
        left_out.add(f"products that are no {work.domain.noun}", str(key))
    verdicts = await verify(work, annotators[VERIFY], captions.captioned, folder)
    kept = captions.captioned.only(verdict.key for verdict in verdicts if not verdict.has_error)
    wrong = [verdict.key for verdict in verdicts if verdict.has_error]
    for key in wrong:
        left_out.add("products whose captions confuse left and right", str(key))
    removed = tuple(captions.captioned.captions(wrong))
    if not kept.keys:
        raise MissingDataError(f"no product of {len(stock.products)} is left after the check; see the failures")
    splits = {}
    for name in SPLITS:
        own = kept.only(key for key in kept.keys if split_of(key, stock, validation_share) == name)
        triplets: tuple[Triplet, ...] = ()
        if own.keys:
            embedder, fingerprint = load_embedder()
            found, grouping = mine_candidates(work, embedder, fingerprint, own, folder / "embeddings", seed=seed)
            for reason, count in grouping.findings.counts.items():
                left_out.add(f"{name}: {reason}", grouping.findings.names[reason][0], count)
            triplets = await make_triplets(work, annotators[TRIPLETS], own, found)
        splits[name] = _split(name, stock, own, triplets)
    for row in work.failures:
        left_out.add(f"failures of stage {row['stage']}", str(row["item"]))
    return Construction(splits=splits, verdicts=verdicts, removed=removed, left_out=left_out)


def split_of(key: ProductKey, stock: Stock, validation_share: float) -> str:
    """The split of a product: its own if it has one, else by the hash of its key."""
    return stock.native.get(key) or ("val" if is_validation(key, validation_share) else "train")


def _split(name: str, stock: Stock, own: Captioned, triplets: tuple[Triplet, ...]) -> Split:
    products = {key: stock.products[key] for key in own.keys}
    return Split(name, products, {caption.key: caption for caption in own.captions(own.keys)}, triplets)
