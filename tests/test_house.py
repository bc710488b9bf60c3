"""The habits of the house, as tests: floors, light doors, short documented modules."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradcheck_rnn

PACKAGE = Path(gradcheck_rnn.__file__).parent
ROOT = PACKAGE.parent
LIMIT = 450
Modules = dict[str, tuple[str, ast.Module]]
# Lines that are data, not code, may be longer; name them here with the reason.
LONGER: dict[str, str] = {}

# Printed by a fresh interpreter: which of the heavy packages, and which of our rooms, were loaded.
PROBE = "import sys; print(*sorted(m for m in sys.modules))"


@pytest.fixture(scope="module")
def modules() -> Modules:
    """Text and tree of every module, by its path in the package."""
    texts = {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    return {path: (text, ast.parse(text)) for path, text in texts.items()}


def loaded_after(code: str) -> set[str]:
    """Names of all modules a fresh interpreter holds after running `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{PROBE}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def heavy(names: set[str], *packages: str) -> set[str]:
    return {name for name in names if name.split(".")[0] in packages}


def rooms(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("gradcheck_rnn.")}


# ---------------------------------------------------------------------------------------- floors


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    lint = Path(sys.executable).parent / "lint-imports"
    if not lint.exists():
        pytest.skip("import-linter is not installed: pip install 'gradcheck-rnn[test]'")
    # `folder` first on the path, so that a changed copy of the package is what is looked at.
    return subprocess.run(
        [lint, "--no-cache", "--config", str(folder / "pyproject.toml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
    )


def test_floors_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "line", "names"),
    [
        ("language", "from gradcheck_rnn import calculus", "language is not allowed to import"),
        ("codegen", "import gradcheck_rnn.verify", "codegen is not allowed to import"),
        ("cells", "import gradcheck_rnn.calculus", "cells is not allowed to import"),
        ("errors", "import gradcheck_rnn.api", "errors is not allowed to import"),
        ("derivation", "import gradcheck_rnn.cells", "derivation is not allowed to import"),
        ("verify.oracle", "import gradcheck_rnn.language", "verify.oracle is not allowed to"),
        ("verify.oracle", "import gradcheck_rnn.codegen", "verify.oracle is not allowed to"),
        ("verify.oracle", "from gradcheck_rnn.derivation import derive", "verify.oracle is not"),
    ],
)
def test_a_planted_import_upstairs_is_caught(
    tmp_path: Path, room: str, line: str, names: str
) -> None:
    shutil.copytree(
        PACKAGE, tmp_path / "gradcheck_rnn", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = re.search(r"gradcheck_rnn(?:\.| import )(\w+)", line)
    assert planted is not None
    imported = planted[1]
    for needed in (room.replace(".", "/"), imported):
        path = tmp_path / "gradcheck_rnn" / needed
        if not (path / "__init__.py").is_file() and not path.with_suffix(".py").is_file():
            pytest.skip(f"there is no {needed} yet")
    file = tmp_path / "gradcheck_rnn" / room.replace(".", "/") / "__init__.py"
    if not file.is_file():
        file = tmp_path / "gradcheck_rnn" / f"{room}.py"
    file.write_text(f"{file.read_text()}\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"gradcheck_rnn.{names}" in done.stdout


# ----------------------------------------------------------------------------------- light doors


def test_importing_the_package_is_light() -> None:
    names = loaded_after("import gradcheck_rnn")
    assert not heavy(names, "numpy", "sympy", "scipy", "flint", "typer", "rich")
    assert rooms(names) <= {"_version"}


def test_everything_public_can_be_imported_and_pulls_in_no_extra() -> None:
    names = loaded_after("from gradcheck_rnn import *")
    assert {"api", "language", "verify"} <= rooms(names)
    assert not heavy(
        names, "typst", "matplotlib", "pytest", "hypothesis", "cupy", "dask", "torch", "safetensors"
    )


def test_the_list_of_public_names_is_the_one_that_resolves() -> None:
    assert sorted(gradcheck_rnn.__all__) == sorted({*gradcheck_rnn._HOME, "__version__"})
    assert dir(gradcheck_rnn) == sorted(gradcheck_rnn.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = gradcheck_rnn.nothing


def test_writing_a_cell_needs_no_symbolic_algebra() -> None:
    names = loaded_after("from gradcheck_rnn import cell\nfrom gradcheck_rnn.language import tanh")
    assert not heavy(names, "sympy", "scipy", "flint", "typer", "rich")
    assert rooms(names) <= {"_version", "checks", "errors", "language"}


BLACK_BOX = """
import numpy
from gradcheck_rnn import check_gradient
report = check_gradient(
    lambda w: float((w**3).sum()), lambda w: 3 * w**2, numpy.arange(1.0, 4.0)
)
assert report.passed, report
"""


def test_a_black_box_check_loads_numpy_and_verify_only() -> None:
    names = loaded_after(BLACK_BOX)
    assert not heavy(names, "sympy", "scipy", "flint", "typer", "rich", "mpmath")
    assert rooms(names) <= {"_version", "checks", "errors", "streams", "verify"}


def test_the_oracle_loads_nothing_of_what_it_judges() -> None:
    names = loaded_after("import gradcheck_rnn.verify.oracle")
    assert rooms(names) <= {"_version", "checks", "errors", "streams", "verify"}


# --------------------------------------------------------------------------------------- modules


def test_modules_are_short(modules: Modules) -> None:
    lines = {path: len(text.splitlines()) for path, (text, _) in modules.items()}
    assert not {path: n for path, n in lines.items() if n > LIMIT and path not in LONGER}


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public functions and classes without a docstring (methods may speak by their name)."""
    if not ast.get_docstring(tree):
        yield "the module"
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        if node.name.startswith("_") or "overload" in decorators:
            continue
        if any(".register" in name for name in decorators):
            continue
        if not ast.get_docstring(node):
            yield node.name


def test_public_things_have_docstrings(modules: Modules) -> None:
    missing = {path: list(undocumented(tree)) for path, (_, tree) in modules.items()}
    assert not {path: names for path, names in missing.items() if names}


def narrows(test: ast.expr) -> bool:
    """Whether an assertion only tells the type checker what the lines above guarantee."""
    text = ast.unparse(test)
    return text.startswith("isinstance(") or text.endswith(" is not None")


def unsafe(tree: ast.Module) -> Iterator[str]:
    """Asserts, which vanish under -O, bare excepts, and errors that are not of errors.py."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Assert) and not narrows(node.test):
            yield f"line {line}: an assert that is not for the type checker"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"line {line}: a bare except"
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(raised, ast.Name) and raised.id == "AssertionError":
                yield f"line {line}: raise from gradcheck_rnn.errors"


def test_no_bare_assertion_and_no_swallowed_error(modules: Modules) -> None:
    found = {path: list(unsafe(tree)) for path, (_, tree) in modules.items()}
    assert not {path: lines for path, lines in found.items() if lines}


def test_the_checks_of_modules_can_fail() -> None:
    tree = ast.parse("class A:\n    def f(self): ...\ndef g(): ...\ndef _h(): ...\n")
    assert list(undocumented(tree)) == ["the module", "A", "g"]
    assert narrows(ast.parse("isinstance(a, int)", mode="eval").body)
    assert not narrows(ast.parse("a == b", mode="eval").body)
    planted = "assert a == b\ntry:\n    f()\nexcept:\n    raise AssertionError\n"
    assert [said.split(":")[0] for said in unsafe(ast.parse(planted))] == [
        "line 1", "line 4", "line 5"
    ]  # fmt: skip


def test_no_two_classes_have_one_name(modules: Modules) -> None:
    places: dict[str, list[str]] = {}
    for path, (_, tree) in modules.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path)
    assert {n: p for n, p in places.items() if len(p) > 1} == {}
