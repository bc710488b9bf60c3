"""How the package is built, in numbers: lines by room, modules with one importer, circles.

python -m benchmarks.house
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import gradcheck_rnn

PACKAGE = Path(gradcheck_rnn.__file__).parent
#: Where modules are data, and importing all of them is the use of it.
LISTS = ("gradcheck_rnn.cells", "gradcheck_rnn.calculus.rules", "gradcheck_rnn.calculus.terms")


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


def lonely(imports: Mapping[str, set[str]]) -> dict[str, str]:
    """Module → the only other one that imports it; not those whose package is a list of them."""
    users: dict[str, list[str]] = {}
    for name, others in imports.items():
        for other in others:
            users.setdefault(other, []).append(name)
    return {n: u[0] for n, u in sorted(users.items()) if len(u) == 1 and u[0] not in LISTS}


def kinds(text: str) -> Counter[str]:
    """Lines of code, docstrings, imports, and of nothing or comments."""
    lines = text.splitlines()
    found = ["code" if line.strip(" #") and not line.strip().startswith("#") else "other"
             for line in lines]  # fmt: skip
    for node in ast.walk(ast.parse(text)):
        what = ""
        if isinstance(node, ast.Import | ast.ImportFrom):
            what = "imports"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            what = "docstrings" if isinstance(node.value.value, str) else ""
        if what and isinstance(node, ast.stmt):
            for i in range(node.lineno - 1, node.end_lineno or node.lineno):
                found[i] = what
    return Counter(found)


def main() -> None:
    """Print a table of rooms, then what is to be merged or untied."""
    rooms: dict[str, Counter[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        room = parts[0] if len(parts) > 1 else "single modules"
        rooms.setdefault(room, Counter()).update(kinds(path.read_text(encoding="utf-8")))
        rooms[room]["modules"] += 1
    heads = ("code", "docstrings", "imports", "other")
    print(f"{'room':16}{'modules':>8}{'lines':>8}" + "".join(f"{h:>12}" for h in heads))
    rooms["all"] = sum(rooms.values(), Counter())
    for room, found in sorted(rooms.items(), key=lambda r: r[1]["modules"]):
        total = sum(found[h] for h in heads)
        row = "".join(f"{found[h]:12}" for h in heads)
        print(f"{room:16}{found['modules']:8}{total:8}{row}")
    found_lonely = lonely(graph())
    lengths = {n: len(p.read_text(encoding="utf-8").splitlines()) for n, p in modules().items()}
    print(f"\n{len(found_lonely)} modules with one importer, "
          f"{sum(lengths[n] for n in found_lonely)} lines; {len(circles())} circles")  # fmt: skip
    for name, user in found_lonely.items():
        print(f"{lengths[name]:5} {name.removeprefix('gradcheck_rnn.')} -> "
              f"{user.removeprefix('gradcheck_rnn.')}")  # fmt: skip


if __name__ == "__main__":
    main()
