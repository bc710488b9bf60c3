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
    vec = vec.replace("## Gradients", "## Gradients in Kronecker form", 1)
    return matrix.rstrip() + "\n\n" + vec


def index() -> str:
    """A list of the pages."""
    rows = [
        f"| [{r['name']}]({r['name']}.md) | {r['what']} | {r['source']} |" for r in api.catalogue()
    ]
    head = [
        "# Derivations",
        "",
        "The derived equations of every system of the zoo, written by `make golden` and compared",
        "by the tests. Each page has the definition, BPTT in matrix form, the Kronecker form of",
        "Magnus and Neudecker, and RTRL.",
        "",
        "| system | what | source |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


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
