"""Measurements of what procir claims of its speed; each compares with a reference in the same run."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> str:
    """The median, and the range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
