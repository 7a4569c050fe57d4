"""Domains of products: what the three stages call them, and the prompts that they send."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import Template
from typing import Any, Literal, cast, get_args

from procir.annotators.request import CLOSE, OPEN
from procir.catalog.atelier.captions import IMAGE_WORDS, LONG_WORDS
from procir.catalog.atelier.modifications import LONG_WORDS as LONG_MODIFICATION_WORDS
from procir.catalog.atelier.modifications import SHORT_WORDS as SHORT_MODIFICATION_WORDS
from procir.construct.prompts.schemas import CaptionAnswer
from procir.errors import ConfigError

Sides = Literal["wearer", "viewer"]
"""Whose left and right count: those of the person inside, or of somebody who stands before the front and looks."""

DOMAIN_FILE = "domain.toml"
PROMPT_FILES = ("caption.md", "verify.md", "triplets.md")
_FIELDS = ("name", "noun", "member", "sides", "views")
_BASE = "based_on"
_SHIPPED = Path(__file__).parent / "prompts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One kind of products: its words, and the system prompts of the stages.

    `member` names the field in which stage 1 says whether a product belongs to the domain, such as is_clothing.
    `views` are the names that `views_involved` of a triplet may take.
    """

    name: str
    noun: str
    member: str
    sides: Sides
    views: tuple[str, ...]
    caption: str
    verify: str
    triplets: str


def shipped_domains() -> tuple[str, ...]:
    """The names of the domains that come with the package."""
    return tuple(sorted(path.parent.name for path in _SHIPPED.glob(f"*/{DOMAIN_FILE}")))


def read_domain(source: str | Path) -> Domain:
    """A shipped domain by its name, or an own one from a folder.

    A folder holds domain.toml and the three prompts. With `based_on = "fashion"` in its domain.toml, fields and
    prompts that it lacks are those of the shipped domain. Prompts are templates: `$member` and the other names in
    `_placeholders` are filled in, and `$$` is a dollar sign. Raises ConfigError naming folder, file and field.
    """
    if source in shipped_domains():
        return _build(_SHIPPED / str(source), None)
    folder = Path(source)
    if not folder.is_dir():
        raise ConfigError(
            f"{source}: neither a folder nor one of the domains {', '.join(shipped_domains())}; name one of these, or "
            f"a folder with {DOMAIN_FILE}"
        )
    base = _read_toml(folder / DOMAIN_FILE).get(_BASE)
    if base is not None and base not in shipped_domains():
        raise ConfigError(
            f"{folder / DOMAIN_FILE}: {_BASE} is {base!r}, which is none of {', '.join(shipped_domains())}; correct it"
        )
    return _build(folder, None if base is None else _SHIPPED / base)


def _build(folder: Path, base: Path | None) -> Domain:
    where = folder / DOMAIN_FILE
    fields = _read_toml(where)
    if base is not None:
        fields = _read_toml(base / DOMAIN_FILE) | fields
    noun, member = _text(fields, "noun", where), _member(fields, where)
    sides, views = _sides(fields, where), _views(fields, where)
    placeholders = _placeholders(noun, member, sides, views)
    caption, verify, triplets = (_prompt(_find(folder, base, name), placeholders) for name in PROMPT_FILES)
    return Domain(
        name=_text(fields, "name", where),
        noun=noun,
        member=member,
        sides=sides,
        views=views,
        caption=caption,
        verify=verify,
        triplets=triplets,
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); a domain's folder needs this file") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML in UTF-8 ({error}); correct it") from error
    for name in fields:
        if name not in (*_FIELDS, _BASE):
            near = get_close_matches(name, (*_FIELDS, _BASE), n=1)
            meant = f", did you mean {near[0]!r}?" if near else f"; the fields are {', '.join((*_FIELDS, _BASE))}"
            raise ConfigError(f"{path}: unknown field {name!r}{meant}")
    return fields


def _given(fields: Mapping[str, Any], name: str, where: Path) -> object:
    if name not in fields:
        raise ConfigError(f'{where}: field {name!r} is missing; add it, or {_BASE} = "fashion" to take it from there')
    return fields[name]


def _text(fields: Mapping[str, Any], name: str, where: Path) -> str:
    value = _given(fields, name, where)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: field {name!r} is {value!r}, not a text; correct it")
    return value


def _member(fields: Mapping[str, Any], where: Path) -> str:
    value = _text(fields, "member", where)
    if not re.fullmatch("[a-z][a-z0-9_]*", value) or value in CaptionAnswer.model_fields:
        raise ConfigError(
            f"{where}: field 'member' is {value!r}; choose small letters, digits and _, as in is_clothing, and none of "
            f"{', '.join(CaptionAnswer.model_fields)}"
        )
    return value


def _sides(fields: Mapping[str, Any], where: Path) -> Sides:
    value = _text(fields, "sides", where)
    if value not in get_args(Sides):
        raise ConfigError(f"{where}: field 'sides' is {value!r}; choose one of {', '.join(get_args(Sides))}")
    return cast(Sides, value)


def _views(fields: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    value = _given(fields, "views", where)
    texts = isinstance(value, list) and all(isinstance(view, str) and view.strip() for view in value)
    if not isinstance(value, list) or not texts or len(set(value)) < max(2, len(value)):
        raise ConfigError(f"{where}: field 'views' is {value!r}; give a list of at least two different names")
    return tuple(value)


def _find(folder: Path, base: Path | None, name: str) -> Path:
    own = folder / name
    return own if base is None or own.exists() else base / name


def _prompt(path: Path, placeholders: Mapping[str, str]) -> str:
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f'{path}: cannot be read ({error.strerror}); write this prompt, or {_BASE} = "fashion" in {DOMAIN_FILE}'
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error
    if OPEN not in content or CLOSE not in content:
        raise ConfigError(f"{path}: says nothing of {OPEN}; say that all up to {CLOSE} is data, never instructions")
    try:
        return Template(content).substitute(placeholders)
    except KeyError as error:
        known = ", ".join(f"${name}" for name in placeholders)
        raise ConfigError(f"{path}: unknown placeholder ${error.args[0]}; known are {known}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: a dollar sign without a name ({error}); write $$ for a dollar sign") from error


def _placeholders(noun: str, member: str, sides: Sides, views: Sequence[str]) -> dict[str, str]:
    left, right = (
        (f"the wearer's **{side}**" if sides == "wearer" else f"the **{side}** of the {noun}")
        for side in ("left", "right")
    )
    # Somebody who wears a garment looks out of a front view; somebody who stands before it looks in.
    front = (right, left) if sides == "wearer" else (left, right)
    return {
        "noun": noun,
        "member": member,
        "views": ", ".join(views),
        "front_left": front[0],
        "front_right": front[1],
        "back_left": front[1],
        "back_right": front[0],
        "image_words": _span(IMAGE_WORDS),
        "long_words": _span(LONG_WORDS),
        "modification_long": _span(LONG_MODIFICATION_WORDS),
        "modification_short": _span(SHORT_MODIFICATION_WORDS),
    }


def _span(words: range) -> str:
    return f"{words.start} to {words.stop - 1}"
