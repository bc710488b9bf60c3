"""The picture of the rooms in docs/architecture.md is what the imports say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import gradcheck_rnn

PACKAGE = Path(gradcheck_rnn.__file__).parent
PICTURE = PACKAGE.parent / "docs" / "architecture.md"
#: Single modules are for all rooms, so that arrows to them would say nothing.
COMMON = {p.stem for p in PACKAGE.glob("*.py")} | {"gradcheck_rnn"}


def imported(path: Path) -> set[str]:
    """The rooms whose modules a file imports, at its top or inside a function."""
    parents = ["gradcheck_rnn", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            start = parents[: len(parents) - node.level + 1] if node.level else []
            full = [*start, *(node.module or "").split(".")]
            if full[0] == "gradcheck_rnn":
                rooms = [full[1]] if len(full) > 1 and full[1] else [a.name for a in node.names]
                found.update(rooms)
        elif isinstance(node, ast.Import):
            found.update(
                a.name.split(".")[1] for a in node.names if a.name.startswith("gradcheck_rnn.")
            )
    return found


def modules() -> dict[str, Path]:
    """Every module of the package by its full name."""
    out = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("gradcheck_rnn", *path.relative_to(PACKAGE).with_suffix("").parts)
        out[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return out


def graph() -> dict[str, set[str]]:
    """Module → modules that it imports: at its top, inside functions, or for types only."""
    known = modules()
    out: dict[str, set[str]] = {}
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(a.name for a in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = package.split(".")
                start = start[: len(start) - node.level + 1] if node.level else []
                base = ".".join([*start, *([node.module] if node.module else [])])
                for a in node.names:
                    inside = f"{base}.{a.name}"
                    found.add(inside if inside in known else base)
        out[name] = (found & known.keys()) - {name}
    return out


def circles() -> list[list[str]]:
    """Groups of modules that import each other, directly or by others of the group."""
    imports = graph()
    while True:  # what imports nothing that is left, or is imported by nothing left, is in none
        used = {other for others in imports.values() for other in others}
        free = {n for n, others in imports.items() if not others or n not in used}
        if not free:
            break
        imports = {n: others - free for n, others in imports.items() if n not in free}

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = imports[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    reach = {n: reached(n) for n in imports}
    groups = {frozenset({m for m in reach[n] if n in reach[m]}) for n in imports}
    return sorted(sorted(g) for g in groups if len(g) > 1)


def arrows() -> set[tuple[str, str]]:
    """(room, room that it imports) for all rooms of the picture."""
    out = set()
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room not in COMMON:
            out |= {(room, other) for other in imported(path) - COMMON - {room}}
    return out


def test_picture_shows_the_imports() -> None:
    text = PICTURE.read_text(encoding="utf-8")
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", text, re.MULTILINE))
    assert drawn == arrows()


def test_every_room_and_every_file_named_is_there() -> None:
    rows = re.findall(
        r"^\| (`.+?) \|.*\| (`.+?) \|$", PICTURE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 10
    for rooms, first in rows:
        places = [PACKAGE / name for name in re.findall(r"`([^`]+)`", rooms)]
        assert all(p.exists() for p in places), rooms
        for file in re.findall(r"`([^`]+)`", first):
            assert any((p / file).exists() for p in (*places, PACKAGE) if p.is_dir()), file


def test_no_modules_import_each_other() -> None:
    """Imports inside functions and for types count: they are dependencies as well."""
    assert circles() == []


def test_a_circle_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = graph()
    real["gradcheck_rnn.errors"].add("gradcheck_rnn.cli.app")
    monkeypatch.setitem(globals(), "graph", lambda: real)
    assert any("gradcheck_rnn.errors" in c for c in circles())
