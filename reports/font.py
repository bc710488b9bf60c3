"""Cut the mathematics font of the reports: ``python -m reports.font latinmodern-math.otf``.

Of Latin Modern Math (GUST e-foundry) the letters and signs that formulas of recurrent networks have
are kept, with their tables of mathematics; under another name, as its licence asks for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fontTools import subset

from gradcheck_rnn.report.typesetting import FAMILY

OUT = Path(__file__).parent.parent / "gradcheck_rnn" / "report" / "fonts" / "mathematics.otf"
SIGNS = (
    "¬±·×÷…‖†‡′″‴ℎℏℓℝℕℤℂ←↑→↓↔↦⇒⇔∀∂∃∅∇∈∉∋∏∑−∓∕∗∘∙√∝∞∠∣∥∧∨∩∪∫∼≃≅≈≔≠≡≤≥≪≫⊂⊃⊆⊇⊕⊖⊗⊘⊙⊢⊤⊥⋅⋆⋮⋯⋰⋱"
    "⌈⌉⌊⌋⟨⟩⟦⟧⏞⏟\u0302\u0303\u0304\u0307\u0308\u20d6\u20d7"
)
#: Latin, Greek, and both in italic, bold and script as mathematics has them.
RANGES = ((0x20, 0x7E), (0x370, 0x3FF), (0x1D400, 0x1D4CF), (0x1D6A8, 0x1D7D7))


def main() -> None:
    """Write the font that is committed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path, help="latinmodern-math.otf")
    source = parser.parse_args().source
    options = subset.Options(
        layout_features=[],
        notdef_outline=True,
        hinting=False,
        name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14],
    )
    options.drop_tables += ["FFTM"]
    font = subset.load_font(str(source), options)
    wanted = {ord(c) for c in SIGNS} | {c for a, b in RANGES for c in range(a, b + 1)}
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=wanted)
    cutter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 3, 4, 6):
            record.string = FAMILY.replace(" ", "") if record.nameID == 6 else FAMILY
    cff = font["CFF "].cff
    cff.fontNames = [FAMILY.replace(" ", "")]
    cff.topDictIndex[0].FullName = cff.topDictIndex[0].FamilyName = FAMILY
    subset.save_font(font, str(OUT), options)
    print(f"{OUT.stat().st_size} bytes, {len(font.getGlyphOrder())} glyphs: {OUT.name}")


if __name__ == "__main__":
    main()
