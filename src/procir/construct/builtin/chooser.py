"""Stage 3 from attribute sheets: targets as the atelier chooses them, and its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from procir.catalog.atelier.comparison import Change
from procir.catalog.atelier.garments import Garment
from procir.catalog.atelier.lexicon import possessive
from procir.catalog.atelier.modifications import write_modification
from procir.catalog.atelier.pairs import Pair, Sheets, Shelf, best, suitable
from procir.construct.prompts.schemas import Selection, TripletAnswer
from procir.types import ProductKey


class Chooser:
    """Chooses among candidates by what the sheets of a whole catalogue say."""

    def __init__(self, sheets: Mapping[ProductKey, Garment]) -> None:
        self._garments = sheets
        self._shelf = Shelf(list(sheets.values()))
        self._members: dict[str, dict[ProductKey, int]] = {}
        for key, garment in sheets.items():
            members = self._members.setdefault(garment.group.name, {})
            members[key] = len(members)
        self._sheets: dict[str, Sheets] = {}

    def choose(self, source: ProductKey, candidates: Sequence[ProductKey]) -> TripletAnswer:
        """Up to two of the candidates as targets, with the texts that lead there."""
        group = self._garments[source].group.name
        members = self._members[group]
        numbers = [members[key] for key in candidates if key in members and key != source]
        pairs = suitable(members[source], numbers, list(members), self._garments, self._of(group))
        chosen = best(pairs, self._shelf)
        return TripletAnswer(selections=tuple(self._select(pair, candidates.index(pair.target) + 1) for pair in chosen))

    def _of(self, group: str) -> Sheets:
        if group not in self._sheets:
            self._sheets[group] = Sheets([self._garments[key] for key in self._members[group]])
        return self._sheets[group]

    def _select(self, pair: Pair, number: int) -> Selection:
        source, target = self._garments[pair.source], self._garments[pair.target]
        text = write_modification(source, target)
        return Selection(
            target_id=number,
            same_category_check=f"Both are {possessive(source.group)} {source.group.category.replace('_', ' ')}.",
            views_involved=text.views_involved,
            difficulty_reasoning=" ".join(map(_contribution, pair.changes)),
            modification_text_long=text.long,
            modification_text_short=text.short,
        )


def _contribution(change: Change) -> str:
    shown = f"{', '.join(change.views)} {'show' if len(change.views) > 1 else 'shows'}"
    before = "nothing of the kind" if change.old is None else change.old
    return f"{change.attribute}: {shown} {change.new} in place of {before}."
