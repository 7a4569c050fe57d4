"""The rules of the house: who imports whom, what stays light, and how large and how documented things are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import procir

PACKAGE = Path(procir.__file__).parent
REPOSITORY = PACKAGE.parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "transformers", "accelerate", "peft")
MAY_LOAD_TORCH = (
    "procir.cli",
    "procir.cli_construct",
    "procir.model",
    "procir.train",
    "procir.recipes",
    "procir.evaluate.baselines",
)
"""Only these, and what lies below them, may load torch (see the import contracts in pyproject.toml)."""


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (found for found in ast.walk(node) if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef))


def public(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Definition]]:
    """Public functions and classes, and the public functions of public classes."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield f"{prefix}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}.{child.name}")


def test_the_package_is_found() -> None:
    assert {"procir", "procir.records", "procir.catalog.released"} <= {dotted(path) for path in MODULES}
    assert len({dotted(path) for path in MODULES}) == len(MODULES)


def test_imports_point_downward(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(REPOSITORY)
    status = lint_imports(config_filename=str(REPOSITORY / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_light_modules_load_neither_torch_nor_transformers() -> None:
    names = [dotted(path) for path in MODULES if path.stem != "__main__"]
    light = [name for name in names if not any(f"{name}.".startswith(f"{heavy}.") for heavy in MAY_LOAD_TORCH)]
    assert "procir.catalog.released" in light
    script = "\n".join(
        [
            "import importlib, sys",
            "before = set()",
            f"for name in {light!r}:",
            "    importlib.import_module(name)",
            f"    loaded = set({HEAVY!r}) & set(sys.modules) - before",
            "    before |= loaded",
            "    if loaded: print(name, 'loads', *sorted(loaded))",
        ]
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_modules_are_short_and_named_by_what_they_hold(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
    assert not {"util", "utils", "common", "helper", "helpers", "misc"} & set(dotted(path).split("."))


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_functions_are_short(path: Path) -> None:
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions(tree(path))}
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_the_median_function_has_ten_lines_at_most() -> None:
    lengths = sorted((node.end_lineno or 0) - node.lineno + 1 for path in MODULES for node in functions(tree(path)))
    assert lengths[len(lengths) // 2] <= 10


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_everything_public_says_what_it_is(path: Path) -> None:
    module = tree(path)
    assert ast.get_docstring(module), "the module has no docstring"
    silent = [name for name, node in public(module, dotted(path)) if not ast.get_docstring(node)]
    assert silent == []


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_nothing_is_left_for_later(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    assert [word for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X") if word in content] == []
    raised = [node.exc for node in ast.walk(ast.parse(content)) if isinstance(node, ast.Raise)]
    assert "NotImplementedError" not in {getattr(getattr(exc, "func", exc), "id", "") for exc in raised}
