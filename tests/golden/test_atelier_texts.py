"""The texts of one drawn garment and one request, word for word."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from procir.catalog.atelier.captions import describe
from procir.catalog.atelier.garments import GROUPS_BY_NAME, VIEW_NAMES, Garment
from procir.catalog.atelier.modifications import write_modification
from procir.types import ProductKey

GOLDEN = Path(__file__).parent / "atelier_texts.json"
DRESS = Garment(
    GROUPS_BY_NAME["women-dresses"],
    {
        "color": "olive",
        "pattern": "floral",
        "accent": "white",
        "fabric": "linen",
        "stitching": "tonal",
        "hardware": "wooden",
        "fit": "regular",
        "neckline": "square",
        "sleeves": "short",
        "cuffs": "rolled",
        "closure": "half placket",
        "chest": "left pocket",
        "back": "keyhole",
        "skirt": "a-line",
        "length": "midi",
        "hem": "slanted right",
        "slit": "none",
        "side": "slit",
    },
    VIEW_NAMES,
    seed=20,
)
OTHER = Garment(
    DRESS.group,
    {**DRESS.values, "color": "orange", "accent": "navy", "chest": "right pocket", "back": "plain", "side": "lacing"},
    ("front", "side", "back"),
    seed=21,
)


def test_the_texts_are_as_recorded():
    caption = describe(ProductKey("atelier", "women-dresses-00000"), DRESS)
    written = {
        "long": caption.long,
        "short": caption.short,
        "images": list(caption.images),
        "modification": asdict(write_modification(DRESS, OTHER)),
    }
    assert json.loads(json.dumps(written)) == json.loads(GOLDEN.read_text(encoding="utf-8"))
