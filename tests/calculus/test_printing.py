"""Printed equations: golden strings, parentheses, compilation, JSON round trip."""

import json
import re
import shutil
import subprocess
from unicodedata import normalize

import pytest
import sympy

from gradcheck_rnn.calculus.printing import from_json, to_json, to_latex, to_text, to_typst
from gradcheck_rnn.calculus.terms import (
    Apply,
    Broadcast,
    Diag,
    Divide,
    Dot,
    Eye,
    Hadamard,
    Kron,
    Neg,
    Num,
    Plus,
    Power,
    Scale,
    Sym,
    Term,
    Times,
    TimeSum,
    Vec,
    dim,
)
from gradcheck_rnn.errors import DimensionError, MissingRule, UsageError
from tests.calculus.test_terms import IDS, SHAPES, U, V, W, b, h, p, s, w, x

c = Sym("c", p, kind="state", lag=0)
gates = {g: Sym(g, p, kind="equation", lag=0) for g in ("i", "f", "o", "c_tilde")}


def gate(name: str, phi: str) -> Term:
    weights = (Sym(f"W_{name}", p, p), Sym(f"U_{name}", p, "d"), Sym(f"b_{name}", p))
    return Apply(phi, weights[0] @ h.at(-1) + weights[1] @ x + weights[2])


ELMAN = Apply("tanh", W @ h.at(-1) + U @ x + Sym("b_i", p))
LSTM_C = Hadamard(gates["f"], c.at(-1)) + Hadamard(gates["i"], gates["c_tilde"])
LSTM_H = Hadamard(gates["o"], Apply("tanh", c))
DELTA = h.with_(mark="bar")
S = Sym("h:W", p, p * p, mark="total", lag=0, kind="state")

GOLDEN = [
    (
        ELMAN,
        "tanh(W h_{t−1} + U x_t + b_i)",
        r"\tanh(\mathbf{W} \mathbf{h}_{t-1} + \mathbf{U} \mathbf{x}_{t} + \mathbf{b}_{i})",
        "tanh(bold(W) bold(h)_(t - 1) + bold(U) bold(x)_t + bold(b)_i)",
    ),
    (
        gate("f", "sigmoid"),
        "σ(W_f h_{t−1} + U_f x_t + b_f)",
        r"\sigma(\mathbf{W}_{f} \mathbf{h}_{t-1} + \mathbf{U}_{f} \mathbf{x}_{t} + \mathbf{b}_{f})",
        "sigma(bold(W)_f bold(h)_(t - 1) + bold(U)_f bold(x)_t + bold(b)_f)",
    ),
    (
        LSTM_C,
        "f_t ⊙ c_{t−1} + i_t ⊙ c̃_t",
        r"\mathbf{f}_{t} \odot \mathbf{c}_{t-1} + \mathbf{i}_{t} \odot \tilde{\mathbf{c}}_{t}",
        "bold(f)_t ⊙ bold(c)_(t - 1) + bold(i)_t ⊙ tilde(bold(c))_t",
    ),
    (
        LSTM_H,
        "o_t ⊙ tanh(c_t)",
        r"\mathbf{o}_{t} \odot \tanh(\mathbf{c}_{t})",
        "bold(o)_t ⊙ tanh(bold(c)_t)",
    ),
    (
        Times(Diag(1 - Hadamard(h, h)), Kron(h.at(-1).T, Eye(p)) + Times(W, S.at(-1))),
        "diag(1 − h_t ⊙ h_t) (h_{t−1}ᵀ ⊗ I_p + W S[h,W]_{t−1})",
        (
            r"\operatorname{diag}(1 - \mathbf{h}_{t} \odot \mathbf{h}_{t}) "
            r"(\mathbf{h}_{t-1}^{\top} \otimes \mathbf{I}_{p} + \mathbf{W} \mathbf{S}^{h,W}_{t-1})"
        ),
        (
            'op("diag")(1 - bold(h)_t ⊙ bold(h)_t) '
            "(bold(h)_(t - 1)^top ⊗ bold(I)_(p) + bold(W) bold(S)_(t - 1)^(h, W))"
        ),
    ),
    (
        TimeSum(Times(DELTA, h.at(-1).T), 1, "T"),
        "Σ_{t=1}^{T} δh_t h_{t−1}ᵀ",
        r"\sum_{t=1}^{T} \boldsymbol{\delta}^{h}_{t} \mathbf{h}_{t-1}^{\top}",
        "sum_(t = 1)^(T) bold(delta)_t^(h) bold(h)_(t - 1)^top",
    ),
    (
        Plus(Times(W.T, Hadamard(1 - Power(h.at(1), 2), DELTA.at(1))), Neg(DELTA)),
        "Wᵀ ((1 − h_{t+1}²) ⊙ δh_{t+1}) − δh_t",
        (
            r"\mathbf{W}^{\top} ((1 - \mathbf{h}_{t+1}^{\odot 2}) \odot "
            r"\boldsymbol{\delta}^{h}_{t+1}) - \boldsymbol{\delta}^{h}_{t}"
        ),
        "bold(W)^top ((1 - bold(h)_(t + 1)^(⊙ 2)) ⊙ bold(delta)_(t + 1)^(h)) - bold(delta)_t^(h)",
    ),
]


@pytest.mark.parametrize(("term", "text", "latex", "typst"), GOLDEN)
def test_golden(term, text, latex, typst):
    assert to_text(term) == text
    assert to_latex(term) == latex
    assert to_typst(term) == typst
    assert str(term) == text
    assert term._repr_latex_() == rf"$\displaystyle {latex}$"


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (Plus(h, Neg(Plus(b, w))), "h_t − (b + w)"),
        (Plus(Neg(h), Neg(Neg(b))), "−h_t + b"),
        (Neg(Hadamard(h, b)), "−h_t ⊙ b"),
        (Hadamard(Neg(h), b), "(−h_t) ⊙ b"),
        (Hadamard(Plus(h, b), w), "(h_t + b) ⊙ w"),
        (Hadamard(W @ h, b), "(W h_t) ⊙ b"),
        (W @ Hadamard(h, b), "W (h_t ⊙ b)"),
        ((W @ h).T, "(W h_t)ᵀ"),
        (Apply("tanh", h).T, "tanh(h_t)ᵀ"),
        (Power(h + b, 2), "(h_t + b)²"),
        (Power(h, -1), "h_t^⊙(−1)"),
        (Kron(h.T, W) @ Vec(Sym("A", p, p)), "(h_tᵀ ⊗ W) vec(A)"),
        (Kron(Kron(h.T, W), Eye("d")), "(h_tᵀ ⊗ W) ⊗ I_d"),
        (Kron(h.T, Kron(W, Eye("d"))), "h_tᵀ ⊗ (W ⊗ I_d)"),
        (Scale(Dot(h, b), h), "(h_tᵀ b) · h_t"),
        (Scale(s, W @ h), "γ · W h_t"),
        (W @ Scale(s, h), "W (γ · h_t)"),
        (Divide(h, Divide(b, w)), "h_t ⊘ (b ⊘ w)"),
        (1 / h, "1 / h_t"),
        (h - 1, "h_t − 1"),
        (h + Broadcast(Num(-1), p), "h_t − 1"),
        (Times(W, Broadcast(s, p)), "W (γ · 1_p)"),
        (Times(W, TimeSum(h, 1, "T")), "W (Σ_{t=1}^{T} h_t)"),
        (TimeSum(h - b, 1, "T") - b, "Σ_{t=1}^{T} (h_t − b) − b"),
        (Sym("h_r", p, lag=1), "h_{r,t−1}"),
        (Sym("W_c_tilde", p), "W_c̃"),
        (Sym("tau", p), "τ"),
        (W.with_(mark="d") @ h, "dW h_t"),
        (h.with_(mark="d").T, "(dh_t)ᵀ"),
        (h.with_(mark="dot"), "ḣ_t"),
        (W.with_(mark="bar"), "∇W"),
        (S.with_(mark="plus"), "∂⁺h_t/∂W"),
    ],
)
def test_parentheses_and_names(term, text):
    assert to_text(term) == normalize("NFC", text)


def test_different_terms_print_differently():
    """Pairs that a printer without parentheses, or with a swapped order, would confuse."""
    pairs = [
        (W @ Hadamard(h, b), Hadamard(W @ h, b)),
        (h - (b + w), h - b + w),
        (Hadamard(h, b), Hadamard(b, h)),
        (h.at(-1), h - 1),
        (Kron(Kron(W, U), V), Kron(W, Kron(U, V))),
        (Power(h + b, 2), h + Power(b, 2)),
        ((W @ W).T, W @ W.T),
    ]
    for left, right in pairs:
        for show in (to_text, to_latex, to_typst):
            assert show(left) != show(right)


def test_every_class_prints_and_an_unknown_one_raises():
    for term, _ in SHAPES:
        for show in (to_text, to_latex, to_typst):
            assert show(term)

    class Mystery(Term):
        pass

    with pytest.raises(MissingRule, match="Mystery"):
        to_text(Mystery._make((), (p, p)))


ALL = [*SHAPES, *((golden[0], None) for golden in GOLDEN)]
ALL += [(m, None) for m in (S, S.with_(mark="plus"), W.with_(mark="bar"), DELTA.T, DELTA**2)]
ALL += [(h.with_(mark=mark).T, None) for mark in ("d", "dot")]
ALL += [(Sym("out_prime", p).T, None), (Power(h, -0.5), None), (Apply("my_phi", h), None)]


@pytest.mark.parametrize("term", [term for term, _ in ALL], ids=lambda t: type(t).__name__)
def test_latex_structure(term):
    latex = to_latex(term)
    assert latex.isascii()
    depth = 0
    for mark in re.findall(r"\\[{}]|[{}]", latex):
        depth += {"{": 1, "}": -1}.get(mark, 0)
        assert depth >= 0
    assert depth == 0
    assert latex.count(r"\left") == latex.count(r"\right")
    # Two superscripts or two subscripts on one base are an error in TeX.
    flat = latex
    while re.search(r"\{[^{}]*\}", flat):
        flat = re.sub(r"\{[^{}]*\}", "G", flat)
    assert not re.search(r"\^G(_G)?\^|_G(\^G)?_", flat)


def test_double_superscript_would_be_noticed():
    flat = re.sub(r"\{[^{}]*\}", "G", r"\delta^{h}_{t}^{\top}")
    assert re.search(r"\^G(_G)?\^|_G(\^G)?_", flat)


def test_typst_compiles():
    typst = pytest.importorskip("typst")
    source = "\n\n".join(f"$ {to_typst(term)} $" for term, _ in ALL)
    assert typst.compile(source.encode(), format="pdf")
    with pytest.raises(typst.TypstError):
        typst.compile(f"$ {to_typst(W)[:-1]} $".encode(), format="pdf")


def test_latex_parses():
    """An independent parser reads it (Matplotlib's, which has no matrices and no tfrac)."""
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    checked = 0
    for term, _ in ALL:
        latex = to_latex(term).replace(r"\tfrac", r"\frac").replace(r"\lvert", "|")
        latex = latex.replace(r"\rvert", "|").replace(r"\operatorname", r"\mathrm")
        if "bmatrix" not in latex:
            parser.parse(f"${latex}$")
            checked += 1
    assert checked > 40
    with pytest.raises(ValueError, match=r"[Dd]ouble superscript|Expected"):
        parser.parse(r"$\delta^{h}_{t}^{\top}$")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    body = "\n".join(rf"\[ {to_latex(term)} \]" for term, _ in ALL)
    packages = r"\usepackage{amsmath,amssymb}"
    document = rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "terms.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "terms.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]


@pytest.mark.parametrize(("term", "_shape"), SHAPES, ids=IDS)
def test_json_round_trip(term, _shape):
    assert from_json(json.loads(json.dumps(to_json(term)))) == term


def test_json_of_a_derivation():
    for term, *_ in GOLDEN:
        assert from_json(json.loads(json.dumps(to_json(term)))) == term
    assert to_json(h.at(-1)) == {
        "op": "Sym",
        "shape": ["p", "1"],
        "name": "h",
        "kind": "state",
        "lag": 1,
        "mark": "",
    }


def test_bad_json_is_refused():
    with pytest.raises(UsageError, match="not a term class"):
        from_json({"op": "dim", "args": []})
    with pytest.raises(UsageError):
        from_json({"op": "Eye", "args": ["__import__('os')"]})
    with pytest.raises(UsageError):
        from_json({"args": []})
    data = to_json(W @ h)
    data["args"].reverse()
    with pytest.raises(DimensionError):
        from_json(data)


def test_multi_letter_dims():
    eye = Eye(dim("hidden") * 4 - 1)
    assert to_text(eye) == "I_{4hidden−1}"
    assert to_latex(eye) == r"\mathbf{I}_{4\mathrm{hidden}-1}"
    assert to_typst(eye) == 'bold(I)_(4"hidden"-1)'


def test_a_long_constant_shows_its_first_digits() -> None:
    constant = sympy.Rational(str(sympy.sqrt(2 / sympy.pi).evalf(40)))
    assert to_text(Num(constant)) == "0.797885"
    assert to_text(Num(sympy.Rational(1, 3))) != "0.333333"
