"""The drawing of garments whose truth is known."""

from procir.catalog.atelier.drawing.views import draw

__all__ = ["draw"]
