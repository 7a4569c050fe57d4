"""The tables of an ablation over seeds, beside the paper's, and what they say of the paper's findings.

Every number comes from the results of finished runs; runs that are missing are shown as missing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import t as student

from procir.report.paper_ablation import RUNS, STARTS, VARIANTS

CONFIDENCE = 0.95
"""Of all intervals."""

Outcome = Literal["supported", "contradicted", "undecided", "not run"]

_TITLES = {
    "cir": "Composed retrieval (the paper's Table 3)",
    "i2t": "Image to text, short captions (the paper's Table 9)",
    "t2i": "Text to image, short captions (the paper's Table 10)",
}
_KS = {"cir": (5, 10), "i2t": (1, 5), "t2i": (1, 5)}


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds; `margin` is half of its 95 % interval by Student's t, None of a single seed."""

    value: float
    margin: float | None
    seeds: int

    @staticmethod
    def of(values: Sequence[int | float]) -> Mean | None:
        """The mean of some values, None of none."""
        count = len(values)
        if not count:
            return None
        if count == 1:
            return Mean(float(values[0]), None, 1)
        spread = statistics.stdev(values) / math.sqrt(count)
        return Mean(statistics.fmean(values), float(student.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread, count)

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval is above or below zero, else 0."""
        if self.margin is None or abs(self.value) <= self.margin:
            return 0
        return 1 if self.value > 0 else -1

    def __str__(self) -> str:
        return f"{self.value:.1f}" if self.margin is None else f"{self.value:.1f} ± {self.margin:.1f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A statement of the paper, whether these runs support it, and the numbers that say so."""

    claim: str
    outcome: Outcome
    evidence: str


class Ablation:
    """Finished runs: their results (see `procir.evaluate.results`), which name variant, start and seed."""

    def __init__(self, runs: Iterable[Mapping[str, Any]], sft_seconds: float | None = None) -> None:
        """`sft_seconds` is what fine-tuning took, once for all runs that start from it."""
        named = {(run["config"]["variant"], run["config"]["start"], int(run["seed"])): run for run in runs}
        self._runs: dict[tuple[str, str, int], Mapping[str, Any]] = dict(sorted(named.items()))
        self._sft = sft_seconds
        self.seeds = sorted({seed for *_, seed in self._runs})
        costs = [self._seconds(variant, start) for variant in VARIANTS for start in STARTS]
        self._least = min((cost for cost in costs if cost is not None), default=None)

    def recalls(self, task: str, variant: str, start: str) -> tuple[Mean | None, Mean | None, Mean | None]:
        """The two recalls of a task that the paper reports, means over datasets, and their mean."""
        first, second = (f"R@{k}" for k in _KS[task])
        pairs = []
        for run in self._of(variant, start):
            one, other = _row(run, task)[first], _row(run, task)[second]
            if one is not None and other is not None:
                pairs.append((one, other))
        columns = [list(column) for column in zip(*pairs, strict=True)] or [[], []]
        return Mean.of(columns[0]), Mean.of(columns[1]), Mean.of([(one + other) / 2 for one, other in pairs])

    def cost(self, variant: str, start: str) -> float | None:
        """Wall time of training, that of fine-tuning included, relative to the fastest variant."""
        seconds = self._seconds(variant, start)
        return None if seconds is None or self._least is None else seconds / self._least

    def averages(self, variant: str, start: str) -> dict[int, float]:
        """Mean of R@5 and R@10 of composed retrieval, by seed."""
        found = {}
        for (name, begun, seed), run in self._runs.items():
            few, many = _row(run, "cir")["R@5"], _row(run, "cir")["R@10"]
            if (name, begun) == (variant, start) and few is not None and many is not None:
                found[seed] = (few + many) / 2
        return found

    def difference(self, start: str, *terms: tuple[float, str]) -> Mean | None:
        """A weighted sum of variants' averages, computed seed by seed; None unless all of them have common seeds."""
        scores = [(weight, self.averages(variant, start)) for weight, variant in terms]
        common = set.intersection(*(set(found) for _, found in scores))
        return Mean.of([sum(weight * found[seed] for weight, found in scores) for seed in sorted(common)])

    def extras(self, name: str, start: str | None = None) -> list[tuple[str, str, int, Any]]:
        """What runs measured beside the tables under a name: variant, start, seed and value."""
        found = [(*key, run["config"].get(name)) for key, run in self._runs.items()]
        return [row for row in found if row[3] is not None and start in (None, row[1])]

    def _of(self, variant: str, start: str) -> list[Mapping[str, Any]]:
        return [run for (name, begun, _), run in self._runs.items() if (name, begun) == (variant, start)]

    def _seconds(self, variant: str, start: str) -> float | None:
        mean = Mean.of([run["seconds"]["training"] for run in self._of(variant, start)])
        if mean is None or (start == "sft" and self._sft is None):
            return None
        return mean.value + (self._sft or 0.0 if start == "sft" else 0.0)


def findings(ablation: Ablation) -> list[Finding]:
    """The paper's findings, judged by paired differences over seeds: an effect counts if its interval excludes zero."""
    return [*_alignment(ablation), *_turns(ablation), _thinking(ablation), _pooling(ablation), _cache(ablation)]


def _alignment(ablation: Ablation) -> list[Finding]:
    """Alignment's mean effect over the four pairs of variants against those of the two other mechanisms."""
    found = []
    for start in STARTS:
        effects = {name: ablation.difference(start, *_main_effect(name)) for name in ("Align", "MT", "CoT")}
        lead = [ablation.difference(start, *_less(_main_effect("Align"), _main_effect(name))) for name in ("MT", "CoT")]
        own, (over_turns, over_cot) = effects["Align"], lead
        if own is None or over_turns is None or over_cot is None:
            found.append(_missing(f"Alignment is the most critical mechanism ({start})"))
            continue
        first = own.sign > 0 and over_turns.sign > 0 and over_cot.sign > 0
        beaten = own.sign < 0 or over_turns.sign < 0 or over_cot.sign < 0
        told = ", ".join(f"{name} {_signed(mean)}" for name, mean in effects.items() if mean)
        found.append(
            Finding(
                claim=f"Alignment is the most critical mechanism ({start})",
                outcome=_judged(supported=first, contradicted=beaten),
                evidence=f"mean effects: {told}; Align over MT {_signed(over_turns)}, over CoT {_signed(over_cot)}",
            )
        )
    return found


def _turns(ablation: Ablation) -> list[Finding]:
    """Two turns against one, with and without alignment."""
    found = []
    for start in STARTS:
        claim = f"Two turns do not help without alignment, and do with it ({start})"
        without = ablation.difference(start, (1.0, "MT"), (-1.0, "Single"))
        with_it = ablation.difference(start, (1.0, "MT+Align"), (-1.0, "Align"))
        if without is None or with_it is None:
            found.append(_missing(claim))
            continue
        outcome = _judged(
            supported=without.sign <= 0 and without.margin is not None and with_it.sign > 0,
            contradicted=without.sign > 0 or with_it.sign < 0,
        )
        told = f"without alignment {_signed(without)}, with it {_signed(with_it)}"
        found.append(Finding(claim=claim, outcome=outcome, evidence=told))
    return found


def _thinking(ablation: Ablation) -> Finding:
    claim = "After fine-tuning, CoT hurts"
    effect = ablation.difference("sft", (1.0, "MT+Align+CoT"), (-1.0, "MT+Align"))
    before = ablation.difference("pretrained", (1.0, "MT+Align+CoT"), (-1.0, "MT+Align"))
    if effect is None:
        return _missing(claim)
    told = f"added to MT+Align: {_signed(effect)} after fine-tuning"
    told += f", {_signed(before)} without it" if before else ""
    return Finding(claim=claim, outcome=_judged(supported=effect.sign < 0, contradicted=effect.sign > 0), evidence=told)


def _pooling(ablation: Ablation) -> Finding:
    """Joint reading against the mean of single views, in runs that measured both."""
    claim = "Reading all views together beats the mean of single views"
    pairs = ablation.extras("mean_pool")
    gaps = [ablation.averages(variant, start)[seed] - pooled for variant, start, seed, pooled in pairs]
    gap = Mean.of(gaps)
    if gap is None:
        return _missing(claim)
    outcome = _judged(supported=gap.sign > 0, contradicted=gap.sign < 0)
    return Finding(claim=claim, outcome=outcome, evidence=f"{_signed(gap)} over {len(gaps)} runs")


def _cache(ablation: Ablation) -> Finding:
    """The first turn read once against read anew: cosine of both query embeddings, the worst of all runs."""
    claim = "The first turn can be cached"
    worst = [(value, f"{variant}, {start}, seed {seed}") for variant, start, seed, value in ablation.extras("cached")]
    if not worst:
        return _missing(claim)
    distance, where = max(worst)
    exact = distance < 1e-4
    return Finding(
        claim=claim,
        outcome=_judged(supported=exact, contradicted=not exact),
        evidence=f"largest difference of a number in a query embedding {distance:.1e} ({where}), of {len(worst)} runs",
    )


def _main_effect(name: str) -> list[tuple[float, str]]:
    """With a mechanism minus without it, averaged over the four settings of the other two."""
    return [(0.25 if name in variant.split("+") else -0.25, variant) for variant in VARIANTS]


def _less(one: Sequence[tuple[float, str]], other: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    return [*one, *((-weight, variant) for weight, variant in other)]


def _judged(*, supported: bool, contradicted: bool) -> Outcome:
    return "contradicted" if contradicted else "supported" if supported else "undecided"


def _missing(claim: str) -> Finding:
    return Finding(claim=claim, outcome="not run", evidence="runs are missing")


def _signed(mean: Mean) -> str:
    return ("+" if mean.value >= 0 else "") + str(mean)


def _row(run: Mapping[str, Any], task: str) -> Mapping[str, float | None]:
    found: Mapping[str, float | None] = run["rows"]["procir"] if task == "cir" else run[task]
    return found


def markdown(ablation: Ablation) -> str:
    """The three tables with the paper's numbers beside these, and the findings."""
    count = len(ablation.seeds)
    seeds = f"Seeds {', '.join(map(str, ablation.seeds))}" if count else "No run is finished"
    intro = (
        f"{seeds}. Means over datasets and seeds in percent, with 95 % intervals by Student's t over seeds where there "
        "are several; – is a run that is missing. Cost is the wall time of training relative to the fastest variant, "
        "fine-tuning included. The paper's numbers are means over its three datasets."
    )
    tables = [f"## {title}\n\n{_table(ablation, task)}" for task, title in _TITLES.items()]
    rows = [f"| {found.claim} | **{found.outcome}** | {found.evidence} |" for found in findings(ablation)]
    told = "\n".join(["| the paper says | these runs | numbers: mean of R@5 and R@10 |", "| --- | --- | --- |", *rows])
    rule = (
        "An effect is the difference between runs of one seed. It counts if the 95 % interval over seeds excludes "
        "zero; a statement that needs an effect which does not count is undecided."
    )
    return "\n\n".join([intro, *tables, f"## The paper's findings\n\n{rule}\n\n{told}"]) + "\n"


def _table(ablation: Ablation, task: str) -> str:
    first, second = _KS[task]
    own = [f"R@{first}", f"R@{second}", *(["Avg", "cost"] if task == "cir" else [])]
    head = ["start", "variant", *own, *(f"paper {name}" for name in own)]
    lines = [_line(head), _line(["---", "---", *["---:"] * (len(head) - 2)])]
    for start in STARTS:
        best = _best(ablation, task, start)
        for variant in VARIANTS:
            lines.append(_line([start, variant, *_cells(ablation, task, variant, start, best)]))
    return "\n".join(lines)


def _cells(ablation: Ablation, task: str, variant: str, start: str, best: str | None) -> list[str]:
    one, other, both = ablation.recalls(task, variant, start)
    shown = [_shown(mean, bold=variant == best) for mean in ((one, other, both) if task == "cir" else (one, other))]
    published = RUNS[variant, start]
    columns = list(zip(*getattr(published, task), strict=True))
    theirs = [statistics.fmean(column) for column in columns]
    if task != "cir":
        return [*shown, *(f"{value:.1f}" for value in theirs)]
    cost = ablation.cost(variant, start)
    shown.append("–" if cost is None else f"{cost:.2f}")
    return [*shown, *(f"{value:.1f}" for value in (*theirs, statistics.fmean(theirs))), f"{published.cost:.2f}"]


def _best(ablation: Ablation, task: str, start: str) -> str | None:
    place: Callable[[str], float] = lambda variant: getattr(ablation.recalls(task, variant, start)[2], "value", -1.0)  # noqa: E731
    name = max(VARIANTS, key=place)
    return name if place(name) >= 0 else None


def _shown(mean: Mean | None, *, bold: bool) -> str:
    if mean is None:
        return "–"
    return f"**{mean}**" if bold else str(mean)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
