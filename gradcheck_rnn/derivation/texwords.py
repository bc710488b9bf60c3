"""Words with mathematical Unicode as plain LaTeX that needs no font but the default."""

from __future__ import annotations

import unicodedata

__all__ = ["tex"]

#: Math-mode names of the characters that our own words use.
_MATH = {
    "∈": r"\in", "δ": r"\delta", "∂": r"\partial", "θ": r"\theta", "⁺": "^+", "−": "-",
    "·": r"\cdot", "×": r"\times", "′": "'", "½": r"\frac12", "Σ": r"\Sigma", "σ": r"\sigma",
    "φ": r"\varphi", "Φ": r"\Phi", "⊙": r"\odot", "τ": r"\tau", "≥": r"\geq",
    "≤": r"\leq", "⊗": r"\otimes", "ᵀ": r"^\top", "γ": r"\gamma", "→": r"\to",
    "←": r"\leftarrow", "≠": r"\neq", "ⁿ": "^n", "¹": "^1", "⁻": "^-", "²": "^2", "₋": "_-",
    "⟨": r"\langle", "⟩": r"\rangle", "ε": r"\varepsilon", "λ": r"\lambda", "α": r"\alpha",
    "β": r"\beta", "∇": r"\nabla", "∏": r"\prod", "√": r"\surd", "₁": "_1", "₂": "_2", "₃": "_3",
    "ω": r"\omega", "μ": r"\mu", "ρ": r"\rho", "∞": r"\infty", "≈": r"\approx", "⊕": r"\oplus",
}  # fmt: skip
_TEXT = {
    "…": r"\ldots{}", "–": "--", "—": "---", "§": r"\S{}", "&": r"\&", "%": r"\%", "_": r"\_",
    "#": r"\#", "{": r"\{", "}": r"\}", "$": r"\$", "^": r"\^{}", "~": r"\~{}", "’": "'",
    "“": "``", "”": "''", "\\": r"\textbackslash{}",
}  # fmt: skip
#: Accents over a symbol, in math mode, and over a letter of a word.
_OVER = {
    "\u0303": "tilde",
    "\u0302": "hat",
    "\u0304": "bar",
    "\u20d7": "vec",
    "\u20d6": "overleftarrow",
}
_ACCENT = {"\u0308": '"', "\u0301": "'", "\u0300": "`", "\u030c": "v ", "\u0327": "c "}


def tex(text: str) -> str:
    """The words in ASCII; a character nobody foresaw becomes its Unicode name in brackets."""
    out: list[str] = []
    for c in unicodedata.normalize("NFD", text):
        if c in _OVER and out:
            out.append(f"$\\{_OVER[c]}{{{out.pop().strip('$')}}}$")
        elif c in _ACCENT and out:
            out.append(f"\\{_ACCENT[c]}{{{out.pop()}}}")
        elif c in _MATH:
            out.append(f"${_MATH[c]}$")
        else:
            out.append(
                _TEXT.get(c, c)
                if c.isascii() or c in _TEXT
                else f"[{unicodedata.name(c, f'U+{ord(c):04X}')}]"
            )
    return "".join(out)
