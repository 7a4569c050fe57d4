"""What reading a catalogue found amiss, counted by reason, with a few names for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EXAMPLES = 5
"""Most names kept for one reason."""


@dataclass(slots=True)
class Findings:
    """Counts by reason, and the first `EXAMPLES` names of each; a reason is a plural noun phrase."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Count one more finding (or several that share a name) under its reason."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        kept = self.names.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(name)

    def take(self, counts: Mapping[str, int], names: Mapping[str, Sequence[str]]) -> None:
        """Add what others have counted, with the names that they kept."""
        for reason, count in counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            kept = self.names.setdefault(reason, [])
            kept += names.get(reason, ())[: EXAMPLES - len(kept)]

    def __bool__(self) -> bool:
        return bool(self.counts)

    def examples(self) -> Mapping[str, tuple[str, ...]]:
        """The names kept, by reason, as `LoadReport.examples` wants them."""
        return {reason: tuple(names) for reason, names in self.names.items()}

    def describe(self) -> str:
        """One line a reason: the names first, so that a message about a record starts with file:line."""
        return "\n".join(self._line(reason) for reason in self.counts)

    def _line(self, reason: str) -> str:
        hidden = self.counts[reason] - len(self.names[reason])
        more = f" and {hidden} more" if hidden > 0 else ""
        return f"{', '.join(self.names[reason])}{more}: {self.counts[reason]} {reason}"
