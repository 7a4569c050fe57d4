"""Draws the pictures of the documentation with the atelier: `python docs/images/make.py`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from procir.catalog.atelier.catalogue import AtelierConfig, DesignedSplit, design
from procir.catalog.atelier.comparison import NEUTRAL, compare
from procir.catalog.atelier.drawing import draw
from procir.catalog.atelier.garments import VIEW_NAMES, Garment, visible
from procir.types import Triplet

FOLDER = Path(__file__).parent

GROUPS = (
    "women-dresses",
    "men-shirts_polos",
    "women-skirts",
    "men-sweatshirts_hoodies",
    "women-rompers_jumpsuits",
    "men-denim",
)
"""The rows of the contact sheet."""

CONFIG = AtelierConfig(train_products=1, val_products=3800, seed=7)

TILE = 216
GAP = 10
MARGIN = 36
SIDE = 172
"""Width of the column of names."""
PAPER = "#fbfaf8"
INK = "#24262b"
PALE = "#74777f"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font(size: int) -> Font:
    """Pillow's own typeface, so that the pictures are the same everywhere."""
    return ImageFont.load_default(size)


def strip(garment: Garment, views: Sequence[str]) -> Image.Image:
    """Views of a garment side by side, with an empty place for each that it lacks."""
    picture = Image.new("RGB", (len(views) * (TILE + GAP) - GAP, TILE), PAPER)
    for column, view in enumerate(views):
        if view in garment.views:
            fine = draw(garment, view, 2 * TILE).resize((TILE, TILE), Image.Resampling.LANCZOS)
            picture.paste(fine, (column * (TILE + GAP), 0))
    return picture


def telling(garment: Garment) -> int:
    """How many parts of a garment are neither absent nor unadorned."""
    return sum(value not in NEUTRAL and value != "solid" for value in visible(garment).values())


def choose_rows(garments: Iterable[Garment]) -> list[Garment]:
    """Of each group the most elaborate garment with all views, in a color that no earlier row has."""
    complete = [garment for garment in garments if garment.views == VIEW_NAMES]
    rows: list[Garment] = []
    for name in GROUPS:
        taken = {row["color"] for row in rows}
        fitting = [g for g in complete if g.group.name == name and g["color"] not in taken]
        rows.append(max(fitting, key=telling))
    return rows


def spelled(garment: Garment) -> str:
    """What a row shows, as its label."""
    pattern = "" if garment["pattern"] == "solid" else f"{garment['pattern']} on "
    return f"{pattern}{garment['color']} {garment['fabric']}"


def contact_sheet(rows: Sequence[Garment]) -> Image.Image:
    """Products as rows and views as columns, with their names."""
    head = 34
    width = 2 * MARGIN + SIDE + len(VIEW_NAMES) * (TILE + GAP) - GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + head + len(rows) * (TILE + GAP) - GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, view in enumerate(VIEW_NAMES):
        x = MARGIN + SIDE + column * (TILE + GAP) + TILE // 2
        pen.text((x, MARGIN + 4), view, INK, font(19), anchor="ma")
    for row, garment in enumerate(rows):
        top = MARGIN + head + row * (TILE + GAP)
        sheet.paste(strip(garment, VIEW_NAMES), (MARGIN + SIDE, top))
        name = f"{garment.group.gender}’s {garment.group.noun}"
        pen.text((MARGIN, top + 76), name, INK, font(19))
        pen.multiline_text((MARGIN, top + 104), "\n".join(textwrap.wrap(spelled(garment), 20)), PALE, font(15))
    return sheet


def choose_triplet(split: DesignedSplit) -> Triplet:
    """The first triplet of products with front, side and back that asks for one thing on each of them."""
    for triplet in split.triplets:
        source, target = split.garments[triplet.source], split.garments[triplet.target]
        places = sorted(change.place for change in compare(source, target))
        if places == ["back", "front", "side"] and source.views == target.views == VIEW_NAMES[:3]:
            return triplet
    raise SystemExit("no triplet asks for one thing on front, side and back each: draw more products")


def triplet_picture(triplet: Triplet, garments: Mapping[str, Garment]) -> Image.Image:
    """Source views, modification text and target views below each other."""
    source, target = garments["source"], garments["target"]
    views, label, middle = source.views, 34, 156
    width = 2 * MARGIN + len(views) * (TILE + GAP) - GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + 2 * (label + TILE) + middle), PAPER)
    pen = ImageDraw.Draw(sheet)
    for top, title, garment in (
        (MARGIN, "source", source),
        (MARGIN + label + TILE + middle, "target", target),
    ):
        pen.text((MARGIN, top), title, INK, font(19))
        for column, view in enumerate(views):
            x = MARGIN + column * (TILE + GAP) + TILE
            pen.text((x, top + 4), view, PALE, font(15), anchor="ra")
        sheet.paste(strip(garment, views), (MARGIN, top + label))
    text = "\n".join(textwrap.wrap(f"“{triplet.short}”", 52))
    centre = (width // 2, MARGIN + label + TILE + middle // 2 - 10)
    pen.multiline_text(centre, text, "#8a1c34", font(23), anchor="mm", align="center", spacing=8)
    return sheet


def main() -> None:
    """Write contact-sheet.jpg and triplet.jpg beside this file."""
    split = design(CONFIG)["val"]
    contact_sheet(choose_rows(split.garments.values())).save(FOLDER / "contact-sheet.jpg", quality=85, optimize=True)
    triplet = choose_triplet(split)
    garments = {"source": split.garments[triplet.source], "target": split.garments[triplet.target]}
    triplet_picture(triplet, garments).save(FOLDER / "triplet.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
