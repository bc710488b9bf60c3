"""The committed text of every system's derivation; run as a module to rewrite it.

``python -m tests.golden_derivations`` rewrites ``derivations/``; the tests compare.
"""

from __future__ import annotations

from pathlib import Path

from gradcheck_rnn import api

FOLDER = Path(__file__).parent.parent / "derivations"


def text(name: str) -> str:
    """The page of one system: BPTT in matrix form, Kronecker form, RTRL."""
    derivation = api.derive(name)
    matrix = api.render(derivation, "markdown")
    kronecker = api.render(derivation, "markdown", form="kronecker", rtrl=True)
    # The second rendering repeats symbols, definition and adjoint; keep what it adds.
    vec = kronecker[kronecker.index("## Gradients") :]
    gradients, rest = vec.split("\n## ", 1)
    return f"{matrix.rstrip()}\n\n{_new_in(gradients, matrix)}## {rest}"


def _new_in(gradients: str, matrix: str) -> str:
    """The section of Kronecker forms without the equations that are the same in matrix form."""
    begin, end = "\\begin{aligned}\n", "\n\\end{aligned}"
    head, body = gradients.split(begin)
    body, tail = body.split(end)
    known = {line.removesuffix(" \\\\") for line in matrix.splitlines()}
    lines = [x for x in (y.removesuffix(" \\\\") for y in body.splitlines()) if x not in known]
    if not lines:
        return ""
    head = head.replace("## Gradients", "## Gradients in Kronecker form")
    same = "" if len(lines) == len(body.splitlines()) else "\nThe others are as above.\n"
    return head + begin + " \\\\\n".join(lines) + end + tail.rstrip("\n") + "\n" + same + "\n"


def index() -> str:
    """A list of the pages."""
    families: dict[str, list[str]] = {}
    for r in api.catalogue():
        row = f"| [{r['name']}]({r['name']}.md) | {r['what']} | {r['source']} |"
        families.setdefault(r["family"], []).append(row)
    head = [
        "# Derivations",
        "",
        "The derived equations of every system of the zoo, written by `make golden` and compared",
        "by the tests. Each page has the definition, BPTT in matrix form, the Kronecker form of",
        "Magnus and Neudecker, and RTRL.",
    ]
    for family, rows in families.items():
        head += ["", f"## {family}", "", "| system | what | source |", "|---|---|---|", *rows]
    return "\n".join(head) + "\n"


def pages() -> dict[str, str]:
    """File name → text, for all systems."""
    return {"README.md": index(), **{f"{n}.md": text(n) for n in api.names()}}


def main() -> None:
    """Rewrite the folder; pages of systems that are gone are removed."""
    FOLDER.mkdir(exist_ok=True)
    wanted = pages()
    for old in FOLDER.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, page in wanted.items():
        (FOLDER / name).write_text(page, encoding="utf-8")
    print(f"{len(wanted)} pages in {FOLDER.name}/")


if __name__ == "__main__":
    main()
