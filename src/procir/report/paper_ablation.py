"""What the paper reports of its sixteen runs (Tables 3, 9 and 10), in percent, by variant and start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DATASETS = ("DeepFashion", "Fashion200K", "FashionGen")

VARIANTS = ("Single", "Align", "CoT", "Align+CoT", "MT", "MT+Align", "MT+CoT", "MT+Align+CoT")
"""The order of the paper's rows."""

STARTS = ("pretrained", "sft")

Pairs = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""Two recalls a dataset, in the order of `DATASETS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One run of the paper: R@5 and R@10 of composed retrieval, R@1 and R@5 of the others, and the relative cost."""

    cir: Pairs
    i2t: Pairs
    t2i: Pairs
    cost: float


def _runs(rows: str) -> dict[tuple[str, str], Published]:
    """From lines of 18 recalls and a cost: composed retrieval, then image to text, then text to image."""
    found = {}
    names = [(variant, start) for start in STARTS for variant in VARIANTS]
    for name, line in zip(names, rows.strip().splitlines(), strict=True):
        *recalls, cost = map(float, line.split())
        pairs = list(zip(recalls[::2], recalls[1::2], strict=True))
        cir, i2t, t2i = (tuple(pairs[first : first + 3]) for first in (0, 3, 6))
        found[name] = Published(cir=cir, i2t=i2t, t2i=t2i, cost=cost)  # type: ignore[arg-type]
    return found


RUNS: Mapping[tuple[str, str], Published] = _runs("""
77.0 87.8 61.4 73.6 59.7 72.5   60.2 89.6 57.8 81.8 53.1 78.6   71.2 93.5 60.3 83.5 57.3 81.5   1.01
78.7 88.7 61.5 74.1 62.6 74.5   71.1 94.4 64.1 85.9 52.7 78.1   75.9 95.6 66.3 87.0 56.8 81.3   1.12
77.9 87.9 60.5 71.6 56.3 68.6   44.2 73.3 28.9 53.5 21.7 43.1   56.6 85.0 41.3 67.4 38.5 64.9   1.16
77.5 87.4 61.8 73.1 57.4 69.6   50.9 79.7 35.8 61.7 23.8 46.9   65.6 90.9 54.6 78.9 45.8 72.4   1.27
77.8 88.3 60.7 73.0 59.4 72.3   62.7 90.6 56.4 81.9 53.6 78.4   65.7 90.5 55.2 81.6 56.6 81.4   1.00
79.5 89.0 61.8 73.8 62.7 74.9   75.4 95.6 66.1 87.6 57.0 81.0   78.1 96.2 70.4 89.5 60.6 83.9   1.21
72.3 84.2 59.1 71.2 54.4 67.1   35.6 67.7 29.0 54.1 26.2 50.5   50.6 81.2 33.0 58.9 38.7 63.9   1.15
84.1 91.5 68.6 79.0 67.7 77.8   78.3 97.1 67.9 88.6 57.0 80.7   81.2 97.4 73.0 90.6 62.9 85.1   1.37
84.5 92.7 69.5 81.7 65.5 78.4   53.3 84.7 66.9 87.6 57.1 82.9   67.4 92.4 68.9 88.5 60.3 84.1   1.62
88.2 94.2 76.8 86.1 74.5 84.5   80.3 97.4 77.4 93.2 66.5 88.8   86.0 98.3 79.5 94.0 69.3 89.6   1.73
83.4 91.1 68.1 78.2 62.4 73.2   45.2 75.5 35.3 61.0 29.0 52.7   65.2 90.6 51.4 77.3 43.3 67.7   1.77
83.7 91.3 69.1 78.9 63.8 74.7   50.9 80.2 42.8 68.7 32.1 56.3   73.7 94.6 63.1 85.5 48.5 74.6   1.88
82.7 92.3 68.2 81.0 65.6 78.7   45.9 78.3 61.8 84.6 54.2 80.7   60.8 90.5 64.8 86.4 56.8 80.4   1.61
89.2 94.9 77.6 86.6 75.0 85.3   81.9 97.9 78.9 94.1 68.3 90.0   87.1 98.6 81.5 95.0 71.8 91.0   1.82
83.4 91.4 70.1 80.0 67.0 77.6   45.3 76.6 37.7 65.4 32.3 55.6   66.9 92.6 56.0 81.4 51.7 76.6   1.76
88.2 94.0 75.6 84.3 73.3 82.4   82.7 97.7 75.6 91.9 65.9 87.3   85.3 98.1 79.4 93.6 69.1 89.1   1.98
""")
"""By variant and start."""
