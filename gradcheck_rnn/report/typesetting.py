"""From a manuscript to a file: typst compiles one source to HTML or to PDF, in memory.

HTML carries a mathematics font, cut to the characters it shows: browsers place scripts, accents and
tall brackets by its tables; without them superscripts float.
"""

from __future__ import annotations

import base64
import html as markup
import io
import os
import re
import tempfile
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from ..errors import UsageError
from ..files import check_writable, write_bytes
from .manuscript import Manuscript

__all__ = ["FAMILY", "SUFFIXES", "check_output", "compiled", "face", "need_extra", "write"]

SUFFIXES = (".html", ".pdf", ".typ")
_EXTRA = "reports need typst and matplotlib: pip install 'gradcheck-rnn[report]'"


def need_extra() -> None:
    """Raise UsageError, with what to install, where the packages for reports are missing."""
    from importlib.util import find_spec

    if find_spec("typst") is None or find_spec("matplotlib") is None:
        raise UsageError(_EXTRA)


def check_output(path: str | os.PathLike[str]) -> Path:
    """Say before any work that a report cannot be written there.

    Raises
    ------
    UsageError
        Another suffix, a folder, a folder that is missing or write-protected.
    """
    out = Path(path)
    if out.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}"
        found = f"the suffix is {out.suffix!r}" if out.suffix else "it has no suffix"
        raise UsageError(f"cannot write a report to {out}: {found}, give {known}")
    check_writable(out)
    return out


def compiled(manuscript: Manuscript, kind: str) -> bytes:
    """The document as ``html`` or ``pdf``; ``typ`` is the source with its style in front.

    Raises
    ------
    UsageError
        The packages for reports are not installed.
    """
    style = _asset(f"{manuscript.style}.typ")
    if kind == "typ":
        body = manuscript.source().partition("\n")[2]
        return f"{style}\n{body}".encode()
    try:
        import typst
    except ImportError as error:
        raise UsageError(_EXTRA) from error
    files = {
        "main.typ": manuscript.source().encode(),
        f"{manuscript.style}.typ": style.encode(),
        **manuscript.files,
    }
    # Nothing outside the manuscript can be read from an empty folder, whatever it says. Without a
    # time stamp equal reports are equal files.
    with tempfile.TemporaryDirectory() as empty:
        made: bytes = typst.compile(
            files, root=empty, format=kind, ignore_system_fonts=True, timestamp=0,
            package_path=empty, package_cache_path=empty,
        )  # fmt: skip
    return made if kind == "pdf" else _dressed(made.decode()).encode()


#: Combining accents as typst writes them, and the spacing ones that browsers centre.
_ACCENTS = {"\u0303": "~", "\u0302": "^", "\u0304": "\u00af", "\u0307": "\u02d9"}


#: A pair of parentheses around what is no taller than a line; the innermost come first.
_FLAT = re.compile(
    r"<mo>\((?:</mo>)((?:(?!<mo>[()]</mo>|<mfrac|<munder|<mtable).)*)<mo>\)</mo>", re.S
)
_TRAILED = re.compile(r"(<math>(?:(?!</?math).)*</math>)([,.;:)]+)", re.S)


_LENGTHS = re.compile(r"(?<=\")(-?0\.\d\d)\d{3,}em")
_EMPTY = '<mtable class="multiline-equation"></mtable>'
_PICTURES = re.compile(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)")


def _as_text(found: re.Match[str]) -> str:
    """A picture as text in its address: a quarter smaller, and legible in a diff."""
    svg = base64.b64decode(found[1]).decode()
    # What is kept as it is may stand in an address within double quotes.
    return "data:image/svg+xml;charset=utf-8," + quote(svg, safe=" '/:;,()[]{}=?@!$*+~^|")


def _dressed(html: str) -> str:
    """What browsers and their readers need beyond typst's export.

    Accents that stand above their letter; parentheses of the text's height unless they hold a
    fraction or a stack; punctuation that stays with its formula; a link past the contents; our
    style sheet in the head.
    """
    for combining, spacing in _ACCENTS.items():
        html = html.replace(f"<mo>{combining}</mo>", f'<mo stretchy="false">{spacing}</mo>')
    html = _LENGTHS.sub(r"\1em", html)
    # An empty cell before + or − keeps it a binary operator; saying so is shorter.
    html = html.replace(f"{_EMPTY}<mo>", '<mo form="infix">')
    html = _PICTURES.sub(_as_text, html)
    for brace in "{}":
        html = html.replace(f"<mo>{brace}</mo>", f'<mo stretchy="false">{brace}</mo>')
    was = ""
    while was != html:
        was, html = (
            html,
            _FLAT.sub(r'<mo stretchy="false">(</mo>\1<mo stretchy="false">)</mo>', html),
        )
    html = _TRAILED.sub(r'<span class="nb">\1\2</span>', html)
    html = html.replace("<body>", '<body><a class="skip" href="#text">Skip the contents</a>', 1)
    html = html.replace("</nav>", '</nav><main id="text" tabindex="-1">', 1)
    html = html.replace("</body>", "</main></body>", 1)
    return html.replace("</head>", f"<style>{face(html)}{_asset('house.css')}</style></head>", 1)


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def write(manuscript: Manuscript, path: str | os.PathLike[str]) -> Path:
    """Compile and write in one step: the file is whole or as it was.

    Raises
    ------
    UsageError
        As `check_output`, and where the system refuses to write.
    """
    out = check_output(path)
    return write_bytes(out, compiled(manuscript, out.suffix.lower()[1:]))


FAMILY = "Gradcheck Math"
FONT = "fonts/mathematics.otf"
_FORMULA = re.compile(r"<math.*?</math>", re.S)
_TAG = re.compile(r"<[^>]*>")
#: First italic and bold italic letters, of which browsers make those of a single letter.
_ITALIC = {"A": 0x1D434, "a": 0x1D44E, "Α": 0x1D6E2, "α": 0x1D6FC}


def face(html: str) -> str:
    """A rule of a style sheet with the font in it; empty where nothing is a formula."""
    shown = set(markup.unescape(_TAG.sub("", "".join(_FORMULA.findall(html)))))
    if not shown:
        return ""
    data = base64.b64encode(_cut(shown | {c for x in shown for c in _italic(x)})).decode()
    return (
        f'@font-face {{ font-family: "{FAMILY}"; '
        f'src: url("data:font/woff;base64,{data}") format("woff"); }}\n'
    )


def _italic(letter: str) -> str:
    """What a browser shows for a letter by itself."""
    if letter == "h":
        return "ℎ"
    for first, code in _ITALIC.items():
        if 0 <= ord(letter) - ord(first) < (26 if first.isascii() else 25):
            return chr(code + ord(letter) - ord(first))
    return ""


def _cut(characters: set[str]) -> bytes:
    """The font with these characters, their sizes and parts, as WOFF."""
    from fontTools import subset

    options = subset.Options(
        layout_features=[],
        notdef_outline=True,
        hinting=False,
        flavor="woff",
        name_IDs=[0, 1, 2, 13],
    )
    font = subset.load_font(io.BytesIO(_font()), options)
    cutter = subset.Subsetter(options)
    cutter.populate(text="".join(sorted(characters)))
    cutter.subset(font)
    out = io.BytesIO()
    subset.save_font(font, out, options)
    return out.getvalue()


def _font() -> bytes:
    return resources.files(__package__).joinpath(FONT).read_bytes()
