"""Small definitions for each rule of the calculus, with their reference gradients.

In every one the rule is met where its adjoint is not constant and where a carry through time
depends on it, so that a wrong version changes some gradient.
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn.calculus.rules import RULES, RuleTable
from gradcheck_rnn.derivation import Derivation, derive
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.derivation.tangents import rtrl
from gradcheck_rnn.errors import GradcheckError
from gradcheck_rnn.language import (
    Cell,
    cell,
    concat,
    cross_entropy,
    cumsum,
    dot,
    exp,
    eye,
    frozen,
    log,
    log_softmax,
    maximum,
    mean,
    ones,
    reverse_cumsum,
    sigmoid,
    softmax,
    softplus,
    solve,
    split,
    sqrt,
    sum_heads,
    surrogate,
    tanh,
    unvec,
    vec,
    where,
)
from gradcheck_rnn.language import sum as unit_sum
from gradcheck_rnn.language.network import as_network
from tests.property.pipeline import Disagreement, compare, measured_roundoff
from tests.property.reference import Arrays, Case, complex_gradients, draw_case

__all__ = ["BANK", "disagreement", "prepared"]


@cell(inputs="x: p", states="h: p", params="W: p p; b: p")
def added(x, h, W, b):
    return tanh(W @ h + x - b)


@cell(inputs="x: p", states="h: p", params="w: p; b: p")
def negated(x, h, w, b):
    v = x * (-h) - w
    return tanh(b * -v)


@cell(inputs="x: d", states="h: p", params="W V: p p; U: p d; Q: q p; R: p q", outputs="h y")
def multiplied(x, h, W, V, U, Q, R):
    h = tanh(W @ (V @ h) + U @ x + (R @ Q) @ h)
    return h, Q @ h


@cell(inputs="x: d", states="h: p", params="W: p p; U: d p")
def transposed(x, h, W, U):
    return tanh(W.T @ h + U.T @ x + (W + eye("p")).T @ (W @ h))


@cell(inputs="x: p; u:", states="h: p", params="g:; w: p; W: p p; G: p p")
def scaled(x, u, h, g, w, W, G):
    a = (g * W + 0.5 * G) @ h + dot(w, h) * x
    return tanh(u * a)


@cell(inputs="x: p; u:", states="h: p", params="g:; W: p p")
def repeated(x, u, h, g, W):
    return tanh((W + g) @ h + x * (mean(h) + u) + (h - mean(x)) / (2 + sigmoid(u)))


@cell(inputs="x: p", states="h: p", params="w v: p; W M: p p")
def products(x, h, w, v, W, M):
    return tanh((W * M * M) @ h + w * h * x + v * v * h)


@cell(inputs="x: p", states="h: p", params="w: p; W: p p; b: p")
def quotients(x, h, w, W, b):
    return (W / (2 + W * W)) @ h + x / (1.5 + w * w) + b / (2 + h * h)


@cell(inputs="x: p", states="h: p", params="w: p; W: p p")
def powers(x, h, w, W):
    return tanh((W**3) @ h**2 + (2 + x**2) ** -1 + (1 + w**2) ** 0.5 * h)


@cell(inputs="x: p", states="h: p", params="w: p; W: p p")
def functions(x, h, w, W):
    a = w * h + x
    gate = sigmoid(a) * softplus(w)
    return tanh(W) @ tanh(a * gate) + log(2 + a * a) * sqrt(1 + w * w) + exp(-a * a)


@cell(inputs="x: p", states="h: p", params="w: p; W: p p")
def absolute(x, h, w, W):
    return tanh(abs(W) @ h + abs(x - w) * h)


@cell(inputs="x: p", states="h: p", params="w: p")
def sums(x, h, w):
    return tanh(x * unit_sum(h * w) + h * unit_sum(x * x))


@cell(inputs="x: p", states="h: p", params="w: p")
def inner(x, h, w):
    return tanh(x * dot(h, w) + w * dot(h, h * x))


@cell(inputs="x: q", states="h: p", params="W: p p+q; A: p p; B: q p")
def stacked(x, h, W, A, B):
    a = concat(h * h, x)
    return tanh(W @ a + concat(A, B).T @ concat(h, tanh(x)))


@cell(inputs="x: 2*p", states="h c: p", params="V: 2*p p")
def cut(x, h, c, V):
    i, o = split(V @ h + x, 2)
    top, bottom = split(V, "p", "p")
    return {"h": tanh(i) * sigmoid(o) + bottom @ c, "c": tanh(top @ c + o)}


@cell(inputs="x: p", states="h: p", params="w: p; W M: p p")
def larger(x, h, w, W, M):
    return tanh(maximum(W, M) @ maximum(h, w * x) + maximum(x, 0.1) * h)


@cell(inputs="x: p", states="h: p", params="w: p; W: p p", data="mask: p")
def chosen(x, h, w, W, mask):
    return tanh(where(mask, W @ h, w * x) + where(x > h, w * h, x * x))


@cell(inputs="x: p", states="h: p", params="W: p p")
def soft(x, h, W):
    return softmax(W @ h + x) * x + softmax(h)


@cell(inputs="x: p", states="h: p", params="W: p p")
def log_soft(x, h, W):
    return tanh(log_softmax(W @ h + x) * x)


@cell(inputs="x: p; t: p", states="h: p", params="W: p p; g:")
def entropies(x, t, h, W, g):
    a = cross_entropy(W @ h, t * x)
    return tanh(x * (a * g) + h)


@cell(inputs="x: p", states="h: p", params="W: p p; w: p")
def compared(x, h, W, w):
    return tanh((h > w * x) * (W @ h) + x)


@cell(inputs="x: p", states="h: p", params="W: p p; w: p")
def held(x, h, W, w):
    return tanh(frozen(W @ h) * (w * h) + x + frozen(h))


@cell(inputs="x: p", states="h: p", params="W: p p; w: p")
def accumulated(x, h, W, w):
    return tanh(cumsum(W @ h + w * x) * h + reverse_cumsum(w * h))


@cell(inputs="x: p", states="h: p", params="W: p p; w: p")
def largest(x, h, W, w):
    return tanh(W @ h + x * np.max(w * h + x) - h * np.min(x * x))


@cell(heads="H", inputs="x: H p", states="z: H p", params="w: H p; u: p")
def over_heads(x, z, w, u):
    total = sum_heads(w * z * z + u * u + w * x)
    return tanh(z * total + u)


@cell(inputs="x: p", states="h: p", params="W A: p p; w: p")
def spiked(x, h, W, A, w):
    spike = surrogate(lambda v: v > w, lambda v: 1 / (1 + v * v))
    return tanh(A @ spike(W @ h + x) + spike(h) * x)


@cell(inputs="x: p; t: p", states="S: p q; h: p", params="A: p p; U: q p")
def solved(x, t, S, h, A, U):
    M = A + h @ x.T
    h = tanh(solve(A + 3 * eye("p"), t * h) + solve(M + 3 * eye("p"), x))
    return {"S": tanh(solve(M.T + 4 * eye("p"), S)) + h @ (U @ x).T, "h": h}


@cell(inputs="x: p*q; t: p", states="S: p q; h: p*q", params="W: p*q p*q; A: p p")
def vecs(x, t, S, h, W, A):
    h = tanh(W @ vec(S * S) + h * vec((A @ S).T))
    return {"S": tanh(unvec(x * vec(S), "p q") * unvec(h, "p q") + t @ ones("q").T), "h": h}


@cell(inputs="x: p*q; t: q", states="S: p q", params="A: p p; b: p*q")
def filled(x, t, S, A, b):
    return tanh(A @ unvec(x * vec(S), "p q") + unvec(b * vec(S.T), "q p").T * (t @ ones("p").T).T)


#: Rule → the definitions that meet it.
BANK: dict[str, tuple[Cell, ...]] = {
    "sum": (added,),
    "negation": (negated,),
    "matrix product": (multiplied,),
    "transpose": (transposed,),
    "scalar multiple": (scaled,),
    "repetition of a scalar": (repeated,),
    "elementwise product": (products,),
    "elementwise quotient": (quotients,),
    "elementwise power": (powers,),
    "elementwise function": (functions,),
    "absolute value": (absolute,),
    "sum over units": (sums,),
    "sum over heads": (over_heads,),
    "inner product": (inner,),
    "concatenation": (stacked,),
    "slice": (cut,),
    "linear map of units": (accumulated,),
    "maximum": (larger,),
    "where": (chosen,),
    "comparison": (compared,),
    "declared derivative": (spiked,),
    "solution of a linear system": (solved,),
    "vec": (vecs,),
    "unvec": (filled,),
    "frozen value": (held,),
    "choice of units": (largest,),
    "softmax": (soft,),
    "log softmax": (log_soft,),
    "cross-entropy of logits": (entropies,),
}

#: Family of a rule → how gradients are computed from it alone.
_BY_FAMILY = {
    "pullback": lambda run, g: bptt(run, g),
    "differential": lambda run, g: bptt(run, g, form="kronecker"),
    "pushforward": lambda run, g: rtrl(run, g),
}


_PREPARED: dict[int, tuple[Cell, Case, Arrays, Arrays]] = {}


def prepared(definition: Cell) -> tuple[Case, Arrays, Arrays]:
    """A case in extended precision, its reference gradients, and roundoff of double precision."""
    if id(definition) not in _PREPARED:  # the cell is kept, so that its identity stays its own
        _PREPARED[id(definition)] = (definition, *_prepare(definition))
    return _PREPARED[id(definition)][1:]


def _prepare(definition: Cell) -> tuple[Case, Arrays, Arrays]:
    case = draw_case(as_network(definition), seed=5, lengths={"T": 3})
    truth = complex_gradients(case)
    made = []
    for dtype in (np.longdouble, np.float64):
        c = case.astype(dtype)
        made.append(bptt(forward(derive(c.network), c.values, c.sizes, c.lengths), c.cotangents))
    return case.astype(np.longdouble), truth, measured_roundoff(made[1], made[0])


def disagreement(definition: Cell, family: str, rules: RuleTable = RULES) -> str:
    """What is wrong with the gradients by one family under a rule table; empty if nothing.

    A term that the calculus refuses (a differential that is not linear any more) counts as found.
    """
    case, truth, roundoff = prepared(definition)
    try:
        derivation: Derivation = derive(case.network, rules)
        run = forward(derivation, case.values, case.sizes, case.lengths)
        compare(family, _BY_FAMILY[family](run, case.cotangents), truth, roundoff, case.cotangents)
    except (Disagreement, GradcheckError) as found:
        return str(found)
    return ""
