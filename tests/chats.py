"""Questions as bodies of chat requests in OpenAI's dialect."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from procir.annotators.ledger import Seen
from procir.annotators.request import Picture, Request
from procir.catalog.atelier.catalogue import view_path
from procir.catalog.atelier.garments import Garment
from procir.construct.panorama import Panorama, panorama
from procir.construct.questions import Described
from procir.types import Caption, ProductKey

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAADElEQVR4nGNgGB4AAADIAAGtQHYiAAAAAElFTkSuQmCC")
"""A PNG of 8 x 8 pixels, for annotators that do not look."""


def data_url(content: bytes) -> str:
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def chat(question: Request[Any], *more: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a question, with more messages after it."""
    parts = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": data_url(part.load())}}
        for part in question.parts
    ]
    return {
        "model": "some-model",
        "messages": [{"role": "system", "content": question.system}, {"role": "user", "content": parts}, *more],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": question.schema.model_json_schema()},
        },
    }


def pixel() -> Picture:
    return Picture(digest="pixel", load=lambda: PIXEL)


def flat(caption: Caption) -> Described:
    """A product with views of equal width, and nothing to see."""
    count = len(caption.images)
    boxes = tuple((round(1000 * i / count), 0, round(1000 * (i + 1) / count), 1000) for i in range(count))
    return Described(caption=caption, panorama=Panorama(picture=pixel(), boxes=boxes))


def paths(root: Path, key: ProductKey, garment: Garment) -> list[Path]:
    return [view_path(root, key, number, view) for number, view in enumerate(garment.views, start=1)]


def photo(path: Path) -> Picture:
    return Picture(digest=str(path), load=path.read_bytes)


def drawn(root: Path, caption: Caption, garment: Garment) -> Described:
    """A product of a drawn catalogue with its stitched photos."""
    views = paths(root, caption.key, garment)
    return Described(caption=caption, panorama=panorama(views, [Seen(str(view), None) for view in views]))
