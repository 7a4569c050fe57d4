"""The documentation: links lead somewhere, quoted commands and code work, generated files are up to date."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tyro

from procir import cli
from procir.catalog.atelier.garments import PLANS, VIEW_NAMES

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DESCRIBED_AS_A_WHOLE: set[str] = set()
"""Settings whose class docstring says what the fields are."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"')


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _content(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _prose(page: Path) -> str:
    return _FENCE.sub("", _content(page))


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{_name(page)}-{number}", code)
        for page in PAGES
        for number, (kind, code) in enumerate(_FENCE.findall(_content(page)), start=1)
        if kind == language
    ]


def _shell_lines() -> list[tuple[str, list[str]]]:
    lines = []
    for name, code in _blocks("sh"):
        joined = code.replace("\\\n", " ").splitlines()
        lines += [(name, words) for line in joined if (words := shlex.split(line, comments=True))]
    return lines


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.fixture(scope="module")
def generate():
    return _load(ROOT / "docs" / "reference" / "generate.py")


def test_every_page_is_found():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md"} <= set(map(_name, PAGES))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_relative_links_resolve(page):
    broken = []
    for link in ("".join(found) for found in _LINK.findall(_prose(page))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [page.parent / link.partition("#")[0] for link, _ in _LINK.findall(_prose(page)) if ":" not in link]
    inside = {page.resolve() for page in PAGES if "results" not in page.parent.name}
    assert inside - reached == set()


def test_settings_reference_is_up_to_date(generate):
    assert _content(ROOT / "docs/reference/settings.md") == generate.settings(), "run docs/reference/generate.py"


def test_memory_reference_is_up_to_date(generate):
    assert _content(ROOT / "docs/reference/memory.md") == generate.memory(), "run docs/reference/generate.py"


def test_commands_reference_is_up_to_date(generate):
    assert _content(ROOT / "docs/reference/commands.md") == generate.commands(), "run docs/reference/generate.py"


def test_every_setting_says_what_it_is(generate):
    silent = [
        f"{cls.__name__}.{field.name}"
        for cls in generate.CLASSES
        if cls.__name__ not in DESCRIBED_AS_A_WHOLE
        for field in generate.fields(cls)
        if not field.meaning
    ]
    assert silent == []
    assert all(len(list(generate.fields(cls))) == len(cls.__dataclass_fields__) for cls in generate.CLASSES)


def test_quoted_commands_parse():
    commands = [(name, words[1:]) for name, words in _shell_lines() if words[0] == "procir"]
    assert {words[0] for _, words in commands} >= {"demo", "draw", "check", "train", "evaluate"}
    for name, words in commands:
        try:
            tyro.cli(cli.Command, args=words, prog="procir")
        except SystemExit:
            pytest.fail(f"{name}: procir {shlex.join(words)} does not parse")


def test_commands_in_prose_exist():
    used = {name for page in PAGES for name in re.findall(r"`procir ([a-z]+)", _prose(page))}
    assert used <= set(re.findall(r"^## procir ([a-z]+)$", _content(ROOT / "docs/reference/commands.md"), re.MULTILINE))


def test_flags_in_prose_exist():
    known = set(re.findall(r"--[a-z][a-z-]*", _content(ROOT / "docs/reference/commands.md")))
    pages = [page for page in PAGES if page.parent.name == "how-to" or page.name in ("README.md", "tutorial.md")]
    spans = [span for page in pages for span in re.findall(r"`([^`]*--[^`]*)`", _prose(page))]
    used = {flag for span in spans if "tensorboard" not in span for flag in re.findall(r"--[a-z][a-z-]*", span)}
    assert used - known == set()


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", _content(ROOT / "Makefile"), re.MULTILINE))
    used = {words[1] for _, words in _shell_lines() if words[0] == "make"}
    assert {"demo", "test"} <= used <= targets


@pytest.mark.parametrize(("name", "code"), [pytest.param(*block, id=block[0]) for block in _blocks("python")])
def test_python_blocks_compile_and_import_what_exists(name, code):
    for node in ast.walk(ast.parse(code, name)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("procir"):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_readme_has_room_for_the_results_of_the_demo():
    readme = _content(ROOT / "README.md")
    assert readme.count("<!-- demo:begin -->") == readme.count("<!-- demo:end -->") == 1
    assert readme.index("<!-- demo:begin -->") < readme.index("<!-- demo:end -->")


def test_pictures_are_small_enough_to_clone():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "images").glob("*.jpg")}
    assert set(sizes) == {"contact-sheet.jpg", "triplet.jpg"}
    assert max(sizes.values()) <= 400_000


def test_the_table_of_views_is_that_of_the_garments():
    page = _content(ROOT / "docs/explanation/atelier.md")
    rows = re.findall(r"^\| (all|[a-z, ]+?(?: and full| only|, full)) \| (.+) \|$", page, re.MULTILINE)
    told = {
        re.sub(r" \(.*", "", attribute.strip()): frozenset(VIEW_NAMES)
        if place == "all"
        else frozenset(re.findall("front|side|back|detail|full", place))
        for place, attributes in rows
        for attribute in re.sub(r" \([^)]*\)", "", attributes).split(",")
    }
    assert told == {attribute.name: attribute.views for plan in PLANS.values() for attribute in plan}
