"""Which model answers a stage, where, and within which bounds: the paper's choices, and a file that changes them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError

from procir.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorSettings:
    """One model behind one HTTP endpoint. Raises ConfigError for values that cannot work."""

    provider: Literal["openai", "google"]
    """The dialect: chat completions of OpenAI and everything compatible, or Gemini."""
    model: str
    """The model's name at the endpoint."""
    base_url: str | None = None
    """The endpoint, such as https://host/v1; without it the provider's own."""
    key_variable: str
    """The environment variable that holds the key."""
    max_tokens: int
    """Most tokens of an answer, thoughts included."""
    temperature: float | None = None
    """Sampling temperature; None leaves it to the endpoint."""
    thinking: bool | None = None
    """Whether the model thinks before it answers; None leaves it to the endpoint."""
    input_price: float | None = None
    """Dollars per million input tokens; None is unknown."""
    output_price: float | None = None
    """Dollars per million output tokens; None is unknown."""
    requests_per_minute: int | None = None
    """Most calls started in a minute; None is no limit."""
    tokens_per_minute: int | None = None
    """Most tokens in a minute, estimated input and `max_tokens` together, as endpoints count them; None is no limit."""
    in_flight: int = 64
    """Most calls under way at once."""
    timeout: float = 600.0
    """Seconds until a call without a whole answer is given up."""
    tries: int = 6
    """Most calls for one answer when the endpoint is overloaded, failing, silent or out of reach."""
    picture_side: int = 1024
    """Longest side, in pixels, of the pictures sent."""

    def __post_init__(self) -> None:
        for name in ("model", "key_variable"):
            if not getattr(self, name).strip():
                raise ConfigError(f"{name} is blank: fill it in")
        for name in ("max_tokens", "requests_per_minute", "tokens_per_minute", "in_flight", "timeout", "tries",
                     "picture_side"):  # fmt: skip
            self._check(name, above_zero=True)
        for name in ("temperature", "input_price", "output_price"):
            self._check(name, above_zero=False)
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url is {self.base_url!r}: it starts with https:// or http://")

    def _check(self, name: str, *, above_zero: bool) -> None:
        value = getattr(self, name)
        if value is not None and not (value > 0 or (value == 0 and not above_zero)):
            raise ConfigError(f"{name} is {value}: it must be {'above 0' if above_zero else '0 or more'}")

    @property
    def priced(self) -> bool:
        """Whether both prices are known."""
        return self.input_price is not None and self.output_price is not None

    def require_prices(self) -> None:
        """Raise ConfigError unless both prices are known."""
        if not self.priced:
            raise ConfigError(
                f"a budget needs the prices of {self.model}: set input_price and output_price, or leave the budget"
            )

    def dollars(self, input_tokens: int, output_tokens: int) -> float | None:
        """The price of tokens, or None if it is unknown. Cached input counts in full: endpoints discount it apart."""
        if self.input_price is None or self.output_price is None:
            return None
        return (input_tokens * self.input_price + output_tokens * self.output_price) / 1e6

    def parameters(self) -> Mapping[str, object]:
        """What an answer depends on; where it is asked, what it costs and how fast is left out."""
        names = ("provider", "model", "max_tokens", "temperature", "thinking", "picture_side")
        return {name: getattr(self, name) for name in names}

    def secret(self) -> str:
        """The key, from the environment. Raises ConfigError without it."""
        value = os.environ.get(self.key_variable, "").strip()
        if not value:
            raise ConfigError(
                f"the environment variable {self.key_variable} is not set: export the key for {self.model} under "
                "this name, or name another variable as key_variable"
            )
        return value


PRESETS: Mapping[str, AnnotatorSettings] = {
    "caption": AnnotatorSettings(
        provider="openai",
        model="kimi-k2.5",
        base_url="https://api.moonshot.ai/v1",
        key_variable="MOONSHOT_API_KEY",
        max_tokens=8192,
        temperature=1.0,
        thinking=True,
    ),
    "verify": AnnotatorSettings(
        provider="openai",
        model="qwen3.5-397b-a17b",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        key_variable="DASHSCOPE_API_KEY",
        max_tokens=16384,
        temperature=1.0,
        thinking=True,
    ),
    "triplets": AnnotatorSettings(
        provider="google",
        model="gemini-3.1-flash-lite",
        key_variable="GEMINI_API_KEY",
        max_tokens=4096,
        temperature=1.0,
    ),
}
"""The models of the paper (appendix A). Prices are left open: they change, and a file states them."""


def read_settings(path: Path | None = None) -> Mapping[str, AnnotatorSettings]:
    """The settings of every stage: the presets, and over them the tables of a TOML file, one a stage.

    Raises ConfigError, naming file, table and field, for what is no TOML, no stage, no field or no value of it.
    """
    if path is None:
        return PRESETS
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except ValueError as error:
        raise ConfigError(f"{path}: no TOML in UTF-8 ({error}): correct the file") from error
    changed = {stage: _changed(path, stage, table) for stage, table in tables.items()}
    return {**PRESETS, **changed}


def _changed(path: Path, stage: str, table: object) -> AnnotatorSettings:
    if stage not in PRESETS:
        raise ConfigError(f"{path}: [{stage}] is no stage{_nearest(stage, list(PRESETS))}")
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {stage} is a value, not a table: write [{stage}] above its fields")
    values = {name: _value(path, stage, name, value) for name, value in table.items()}
    try:
        return replace(PRESETS[stage], **values)
    except ConfigError as error:
        raise ConfigError(f"{path}: [{stage}] {error}") from error


def _value(path: Path, stage: str, name: str, value: object) -> Any:
    known = [field.name for field in fields(AnnotatorSettings)]
    if name not in known:
        raise ConfigError(f"{path}: [{stage}] has no field {name!r}{_nearest(name, known)}")
    try:
        return TypeAdapter(get_type_hints(AnnotatorSettings)[name]).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise ConfigError(f"{path}: [{stage}] {name} is {value!r}: {reason}") from error


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.0)
    return f": did you mean {near[0]!r}? Known are {', '.join(known)}"
