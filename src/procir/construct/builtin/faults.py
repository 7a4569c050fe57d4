"""What the built-in annotator does wrong, and how often."""

from __future__ import annotations

from dataclasses import dataclass, fields
from hashlib import sha256
from random import Random

from procir.errors import ConfigError

_SECONDS = ("retry_after", "slow_seconds", "latency")
_OTHERS = ("stubborn", "seed")
_ONE_OF = (("malformed_json", "empty_answers"), ("rate_limited", "server_errors"))
"""Shares of which only one can meet a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Errors of the built-in annotator. Shares lie in [0, 1].

    Errors of content and refusals are functions of the seed and the products, malformed and empty answers of the seed
    and the request. Overload, failures and delays come by chance with each arrival, and change no answer.
    """

    left_right_errors: float = 0.0
    """Share of the products with a feature on one side whose captions put one such feature on the wrong side."""
    verifier_miss: float = 0.0
    """Share of the products with errors of left and right that pass the check."""
    verifier_false_alarm: float = 0.0
    """Share of the products without such errors that do not pass it."""
    malformed_json: float = 0.0
    """Share of the requests answered with prose around the JSON, a part of it, or wrong entries."""
    empty_answers: float = 0.0
    """Share of the requests answered with nothing."""
    stubborn: bool = False
    """Whether a request that objects to a malformed or empty answer gets another one."""
    refusals: float = 0.0
    """Share of the questions that the annotator refuses to answer, each time."""
    rate_limited: float = 0.0
    """Share of the arrivals answered with status 429."""
    retry_after: float = 1.0
    """Seconds that status 429 asks to wait."""
    server_errors: float = 0.0
    """Share of the arrivals answered with status 500."""
    slow: float = 0.0
    """Share of the arrivals that take `slow_seconds` longer."""
    slow_seconds: float = 10.0
    """Seconds that slow answers take longer."""
    latency: float = 0.0
    """Seconds that every answer takes."""
    seed: int = 0
    """Decides who is affected."""

    def __post_init__(self) -> None:
        for name in _SECONDS:
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)} seconds: it must be 0 or more")
        shares = [(field.name,) for field in fields(self) if field.name not in (*_SECONDS, *_OTHERS)]
        for names in (*shares, *_ONE_OF):
            share = sum(getattr(self, name) for name in names)
            if not 0 <= share <= 1:
                raise ConfigError(f"{' + '.join(names)} is {share}: a share lies in [0, 1]")


def lot(*names: object) -> float:
    """A number in [0, 1) that depends on the names alone."""
    digest = sha256("\0".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What happens to a request by chance: an HTTP status if it fails, and how many seconds its answer takes."""

    status: int | None
    seconds: float


class Weather:
    """Chance, in the order of arrival."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._rng = Random(faults.seed)

    def next(self) -> Arrival:
        """What happens to the next request."""
        faults = self._faults
        failure, delay = self._rng.random(), self._rng.random()
        status = None
        if failure < faults.rate_limited + faults.server_errors:
            status = 429 if failure < faults.rate_limited else 500
        seconds = faults.latency + (faults.slow_seconds if delay < faults.slow else 0.0)
        return Arrival(status=status, seconds=seconds)
