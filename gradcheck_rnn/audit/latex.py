r"""LaTeX equations as the text that `mathematics` reads: ``\delta h_t`` becomes ``δh_t``.

A rewriting of commands and no parser of LaTeX: what it does not know stays and is then not
understood, which the report says.
"""

from __future__ import annotations

import re

__all__ = ["equations", "to_text"]

_SYMBOLS = {
    "delta": "δ", "odot": "⊙", "circ": "∘", "cdot": "·", "times": "×", "otimes": "⊗", "oslash": "⊘",
    "langle": "⟨", "rangle": "⟩", "prod": "Π",
    "sigma": "σ", "partial": "∂", "nabla": "∇", "sum": "Σ", "top": "⊤", "intercal": "⊤",
    "mathsf{T}": "⊤", "gamma": "γ", "alpha": "α", "beta": "β", "phi": "φ", "theta": "θ",
    "lambda": "λ", "tau": "τ", "mu": "μ", "epsilon": "ε", "eta": "η", "rho": "ρ", "psi": "ψ",
    "omega": "ω", "mathcal{L}": "L", "ell": "L", "prime": "′", "lvert": "|", "rvert": "|",
}  # fmt: skip
_ACCENTS = {"tilde": "\u0303", "hat": "\u0302", "bar": "\u0304", "dot": "\u0307",
            "widetilde": "\u0303", "widehat": "\u0302"}  # fmt: skip
_PLAIN = (
    "mathbf", "boldsymbol", "bm", "mathrm", "text", "textrm", "mathit", "vec", "operatorname",
    "mathsf", "mbox",
)  # fmt: skip
_ENVIRONMENT = re.compile(
    r"\\begin\{(equation|align|aligned|gather|eqnarray|multline)\*?\}(.*?)\\end\{\1\*?\}"
    r"|\$\$(.*?)\$\$|\\\[(.*?)\\\]|(?<!\\)\$([^$\n]+)\$",
    re.DOTALL,
)


def equations(source: str) -> list[tuple[int, str]]:
    """(line number, LaTeX) of every displayed or inline formula with an equals sign."""
    out = []
    for m in _ENVIRONMENT.finditer(source):
        kind = next(i for i in (2, 3, 4, 5) if m.group(i) is not None)
        body, start = m.group(kind), m.start(kind)
        at = 0
        body = re.sub(
            r"\\begin\{[bp]matrix\}(.*?)\\end\{[bp]matrix\}",
            lambda g: "[" + g.group(1).replace(r"\\", ";") + "]", body, flags=re.DOTALL,
        )  # fmt: skip
        for row in re.split(r"\\\\(?:\[[^\]]*\])?", body):
            first = source.count("\n", 0, start + at + len(row) - len(row.lstrip())) + 1
            at += len(row) + 2
            row = re.sub(r"\\begin\{aligned\}|\\end\{aligned\}|(?<!\\)%.*", "", row)
            row, _, remark = row.partition("&&")
            if "for" in remark or "add" in remark:
                row += (
                    " (" + re.sub(r"\\text\{(.*)\}", r"\1", remark.strip()).replace("$", "") + ")"
                )
            if "=" in row:
                out.append((first, row.strip()))
    return out


def _group(text: str, at: int) -> tuple[str, int]:
    """The group or token that starts at ``at``, and where it ends."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at >= len(text):
        return "", at
    if text[at] != "{":
        m = re.compile(r"\\[a-zA-Z]+|.").match(text, at)
        end = m.end() if m else at + 1
        return text[at:end], end
    depth = 0
    for i in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if not depth:
            return text[at + 1 : i], i + 1
    return text[at + 1 :], len(text)


def to_text(latex: str) -> str:
    """One LaTeX equation as mathematical text."""
    text = re.sub(r"\\(tag|label|hspace|vspace|notag|nonumber)\*?\s*(\{[^{}]*\})?", " ", latex)
    text = re.sub(r"\\(left|right|big|Big|bigl|bigr|Bigl|Bigr|displaystyle|limits)\b", " ", text)
    text = re.sub(r"\\[,;:!> ]|\\q?quad\b|~|&", " ", text)
    text = text.replace(r"\{", "(").replace(r"\}", ")")
    for name, symbol in _SYMBOLS.items():
        if "{" in name:
            text = text.replace("\\" + name, symbol)
    out, at = "", 0
    while at < len(text):
        m = re.compile(r"\\([a-zA-Z]+)").match(text, at)
        if m is None:
            out += text[at]
            at += 1
            continue
        command, at = m.group(1), m.end()
        if command in ("frac", "dfrac", "tfrac"):
            above, at = _group(text, at)
            below, at = _group(text, at)
            above, below = to_text(above), to_text(below)
            partial = above.strip().startswith(("∂", "d ")) and below.strip().startswith("∂")
            out += f"{above.strip()}/{below.strip()} " if partial else f"(({above})/({below}))"
        elif command in _ACCENTS:
            inner, at = _group(text, at)
            inner = to_text(inner).strip()
            out += inner[:1] + _ACCENTS[command] + inner[1:]
        elif command in _PLAIN:
            inner, at = _group(text, at)
            out += to_text(inner).strip()
        elif command == "sqrt":
            inner, at = _group(text, at)
            out += f"sqrt({to_text(inner)})"
        else:
            out += _SYMBOLS.get(command, command)
    # Bounds of sums, before a superscript T is taken for a transpose.
    out = re.sub(r"([ΣΠ]\s*_)\{?([^{}^]*?)\}?\s*\^\s*\{?(\w(?:[-+]\d+)?)\}?", r"\1{\2;\3} ", out)
    out = re.sub(r"\^\s*\{\s*(⊤|T|′)\s*\}", lambda g: "′" if g.group(1) == "′" else "ᵀ", out)
    out = re.sub(r"\^\s*(⊤|T)", "ᵀ", out)
    return re.sub(r"\s+", " ", out).strip()
