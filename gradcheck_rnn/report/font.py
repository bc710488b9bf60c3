"""A mathematics font that travels with every HTML report, cut to the characters it shows.

Browsers place scripts, accents and tall brackets by the tables of a mathematics font; where a machine
has none, superscripts float. What is cut off `FONT` here is some tens of kilobytes.
"""

from __future__ import annotations

import base64
import html as markup
import io
import re
from importlib import resources

__all__ = ["FAMILY", "face"]

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
