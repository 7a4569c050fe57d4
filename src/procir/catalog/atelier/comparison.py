"""What differs between two drawn garments, as far as their photos show it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from procir.catalog.atelier.garments import (
    GROUPS_BY_NAME,
    NONE,
    VIEW_NAMES,
    Attribute,
    Garment,
    Group,
    applies,
    attributes,
)

NEUTRAL = frozenset({NONE, "plain"})
"""Values that say that a part is absent or unadorned."""


@dataclass(frozen=True, slots=True)
class Change:
    """One request: the attribute, the old value (None where the source has no such part), the new one.

    `views` are the views that show it on both products, in `VIEW_NAMES` order.
    """

    attribute: str
    old: str | None
    new: str
    views: tuple[str, ...]

    @property
    def place(self) -> str:
        """The one place that shows it (front, back, side, detail), or overall."""
        if "front" in self.views:
            return "overall" if self.everywhere else "front"
        return self.views[0]

    @property
    def everywhere(self) -> bool:
        """Whether it shows on more kinds of view than the face of the garment."""
        return bool({"side", "back", "detail"} & set(self.views))


def columns(group: Group) -> tuple[Attribute, ...]:
    """The attributes of a group, as `attributes` gives them, kept between calls."""
    return _columns(group.name)


@cache
def _columns(name: str) -> tuple[Attribute, ...]:
    return attributes(GROUPS_BY_NAME[name])


def possible(attribute: Attribute, garment: Garment) -> bool:
    """Whether the garment's views could show the attribute."""
    return bool(attribute.views.intersection(garment.views))


def compare(source: Garment, target: Garment) -> tuple[Change, ...]:
    """Every difference that can be seen on both products, in drawing order.

    A part that only the target has (cuffs of new sleeves, the second color of a new pattern) is a difference
    unless it is neutral; a part that goes together with another (cuffs of removed sleeves) is none of its own.
    """
    assert source.group == target.group, (source.group.name, target.group.name)
    changes = []
    for attribute in columns(source.group):
        if not (possible(attribute, source) and possible(attribute, target)):
            continue
        name = attribute.name
        if not applies(name, target.values):
            continue
        new, old = target[name], source[name] if applies(name, source.values) else None
        if (old is None and new not in NEUTRAL) or (old is not None and old != new):
            changes.append(Change(name, old, new, _common_views(attribute, source, target)))
    return tuple(changes)


def _common_views(attribute: Attribute, source: Garment, target: Garment) -> tuple[str, ...]:
    shown = attribute.views.intersection(source.views).intersection(target.views)
    return tuple(view for view in VIEW_NAMES if view in shown)


def kept(source: Garment, target: Garment) -> dict[str, str]:
    """Values that both products show alike, in drawing order."""
    return {
        attribute.name: source[attribute.name]
        for attribute in columns(source.group)
        if possible(attribute, source)
        and possible(attribute, target)
        and applies(attribute.name, source.values)
        and applies(attribute.name, target.values)
        and source[attribute.name] == target[attribute.name]
    }


def views_involved(changes: tuple[Change, ...]) -> tuple[str, ...]:
    """The views that the differences ask for: what shows on every view counts for front and back, or front and side."""
    named: set[str] = set()
    for change in changes:
        if change.place != "overall":
            named.add(change.place)
        else:
            named |= {"front"} | ({"back"} if "back" in change.views else {"side"} & set(change.views))
    return tuple(view for view in VIEW_NAMES if view in named)
