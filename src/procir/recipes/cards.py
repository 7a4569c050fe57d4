"""What a run knows of the model that it leaves, for the model's card."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from huggingface_hub.repocard import metadata_load

from procir.model.embedder import ProCIR
from procir.records import write_text
from procir.report.model_card import CardFacts, model_card
from procir.train import manifest
from procir.train.config import CONDUCT, TrainConfig
from procir.train.contrastive import BEST
from procir.train.sft_config import RunConfig
from procir.types import Split

_CARD = "README.md"


def save_trained(model: ProCIR, what: str, start: str, config: RunConfig, training: Split, out: Path) -> None:
    """Leave the model of a run in `out`/model with its card, see `trained_card`; the best one is given it, too."""
    card = trained_card(what, start, config, training, out)
    model.save_pretrained(out / "model", card=card)
    if isinstance(config, TrainConfig) and (out / BEST).is_dir():
        note = f"Of the run's steps this one had the highest {config.keep_best} on the validation triplets it watched."
        write_text(out / BEST / _CARD, card.replace("\n\n## Use\n", f"\n\n{note}\n\n## Use\n", 1))


def trained_card(what: str, start: str, config: RunConfig, training: Split, out: Path) -> str:
    """The card of the model of a run in `out`, which began from `start`, as `procir train --start` has it.

    `what` says what was trained, as the beginning of a sentence. Settings that do not change the weights are left out,
    and so are the names of folders, which are the business of whoever trained.
    """
    begun, base = _begun(start)
    known = manifest.load(out)
    facts = CardFacts(
        title="A ProCIR model",
        about=f"{what}: trained with procir on {len(training.triplets):,} triplets of "
        f"{len(training.products):,} products, from {begun}.",
        base_model=base,
        datasets=Counter(key.dataset for key in training.products),
        data_hash=known.data_hash if known else None,
        settings={name: value for name, value in asdict(config).items() if name not in CONDUCT},
    )
    return model_card(facts)


def _begun(start: str) -> tuple[str, str | None]:
    """What a run began from, in words, and the model on the Hub that this goes back to, if there is one."""
    match start:
        case "starter":
            return "the checkpoint that ships with procir", None
        case "scratch":
            return "random weights", None
    if not Path(start).exists():
        return start, start
    base = _base_of(Path(start))
    return (f"a checkpoint of {base}" if base else "a checkpoint of its owner's"), base


def _base_of(folder: Path) -> str | None:
    """The base model that the card of a checkpoint names; a card that cannot be read names none."""
    try:
        found = (metadata_load(folder / _CARD) or {}).get("base_model")
    except Exception:  # noqa: BLE001 - whatever is wrong with it: a finished training is worth more
        return None
    return found if isinstance(found, str) else None
