"""Long short-term memory: the original of 1997 and what it became.

Gates are listed as i, f, o, c̃ (the survey's order). Every variant hands out h; a readout
y = V h + b_y, eq. (35), and a loss are composed on top (`with_loss`).
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..language import cell, frozen, sigmoid, split, tanh
from ..language.cell import Cell
from ._catalogue import CS231N, HONG, KIM, LEE, SURVEY

__all__ = [
    "ZOO",
    "lstm",
    "lstm_1997",
    "lstm_1997_truncated",
    "lstm_gate_recurrent",
    "lstm_packed",
    "lstm_peephole",
    "lstm_peephole_full",
]

_GATES = "W_i W_f W_o W_c: p p; U_i U_f U_o U_c: p d; b_i b_f b_o b_c: p"


@cell(
    inputs="x: d",
    states="h c: p",
    params=_GATES,
    outputs="h",
    source=(
        f"{SURVEY}, eqs. (36)–(38), (32)–(34); {HONG}, eqs. (3)–(6); {LEE}; {KIM}, eqs. (6)–(11)"
    ),
)
def lstm(x, h, c, W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, b_i, b_f, b_o, b_c):
    """Long short-term memory with input, forget and output gate, no peepholes.

    Hong writes g for c̃ and W_h*, W_x* for W_*, U_*; Lee writes row vectors, x W_x + h W_h, so
    his matrices are the transposes of ours.
    """
    i = sigmoid(W_i @ h + U_i @ x + b_i)
    f = sigmoid(W_f @ h + U_f @ x + b_f)
    o = sigmoid(W_o @ h + U_o @ x + b_o)
    c_tilde = tanh(W_c @ h + U_c @ x + b_c)
    c = f * c + i * c_tilde
    h = o * tanh(c)
    return h, c


@cell(
    inputs="x: d",
    states="h c: p",
    params="W: 4*p p; U: 4*p d",
    outputs="h",
    source=f"{CS231N}, LSTM formulation: one block matrix, gates f, i, o, g, no biases",
)
def lstm_packed(x, h, c, W, U):
    """Long short-term memory with its four gates as one block matrix and no biases."""
    a = W @ h + U @ x
    a_f, a_i, a_o, a_g = split(a, 4)
    f = sigmoid(a_f)
    i = sigmoid(a_i)
    o = sigmoid(a_o)
    g = tanh(a_g)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


def _original(name: str, what: str, source: str, carried: Callable[[Any], Any]) -> Cell:
    @cell(
        inputs="x: d",
        states="h c: p",
        params="W_i W_o W_c: p p; U_i U_o U_c: p d; b_i b_o b_c: p",
        outputs="h",
        name=name,
        what=what,
        source=source,
    )
    def step(x, h, c, W_i, W_o, W_c, U_i, U_o, U_c, b_i, b_o, b_c):
        h_prev = carried(h)
        i = sigmoid(W_i @ h_prev + U_i @ x + b_i)
        o = sigmoid(W_o @ h_prev + U_o @ x + b_o)
        c_tilde = tanh(W_c @ h_prev + U_c @ x + b_c)
        c = c + i * c_tilde
        h = o * tanh(c)
        return h, c

    return step


lstm_1997 = _original(
    "lstm_1997",
    "The original LSTM: input and output gate only, the memory is a pure sum.",
    f"{SURVEY}, Original LSTM: eqs. (36), (38), (32)–(34) with f = 1",
    lambda h: h,
)

#: Inside the memory cell errors flow back without end (BPTT); what would leave the cell through
#: h₋ into gates and block input is cut (truncated RTRL). The result is therefore by intent not the
#: derivative of the loss as run.
lstm_1997_truncated = _original(
    "lstm_1997_truncated",
    "The original LSTM with its own learning rule: h₋ is frozen where gates read it.",
    f"{SURVEY}, Original LSTM: BPTT with a mixture of real-time recurrent learning",
    frozen,
)


def _peepholes(name: str, what: str, source: str, shape: str, look: Callable[..., Any]) -> Cell:
    @cell(
        inputs="x: d",
        states="h c: p",
        params=f"{_GATES}; p_i p_f p_o: {shape}",
        outputs="h",
        name=name,
        what=what,
        source=source,
    )
    def step(
        x, h, c, W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, b_i, b_f, b_o, b_c, p_i, p_f, p_o
    ):  # fmt: skip
        i = sigmoid(W_i @ h + U_i @ x + look(p_i, c) + b_i)
        f = sigmoid(W_f @ h + U_f @ x + look(p_f, c) + b_f)
        c_tilde = tanh(W_c @ h + U_c @ x + b_c)
        c = f * c + i * c_tilde
        # The output gate looks at the new memory.
        o = sigmoid(W_o @ h + U_o @ x + look(p_o, c) + b_o)
        h = o * tanh(c)
        return h, c

    return step


lstm_peephole = _peepholes(
    "lstm_peephole",
    "Long short-term memory with diagonal peepholes p ⊙ c; the output gate sees the new c.",
    f"{SURVEY}, eqs. (28)–(34): the vanilla LSTM of 2005",
    "p",
    lambda p, c: p * c,
)

lstm_peephole_full = _peepholes(
    "lstm_peephole_full",
    "Long short-term memory with full peephole matrices W_*c C; the output gate sees the new C.",
    f"{KIM}, eqs. (12)–(14), (8), (9), (11); his W_ic, W_fc, W_oc are p_i, p_f, p_o here",
    "p p",
    lambda p, c: p @ c,
)


@cell(
    inputs="x: d",
    states="h c i f o: p",
    params=f"{_GATES}; p_i p_f p_o: p; R_ii R_if R_io R_fi R_ff R_fo R_oi R_of R_oo: p p",
    outputs="h",
    source=f"{SURVEY}, eqs. (39)–(41), (32)–(34)",
)
def lstm_gate_recurrent(
    x, h, c, i, f, o, W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, b_i, b_f, b_o, b_c,
    p_i, p_f, p_o, R_ii, R_if, R_io, R_fi, R_ff, R_fo, R_oi, R_of, R_oo,
):  # fmt: skip
    """Long short-term memory with full gate recurrence: every gate reads all gates at t − 1."""
    c_tilde = tanh(W_c @ h + U_c @ x + b_c)
    i_new = sigmoid(W_i @ h + U_i @ x + p_i * c + b_i + R_ii @ i + R_if @ f + R_io @ o)
    f_new = sigmoid(W_f @ h + U_f @ x + p_f * c + b_f + R_fi @ i + R_ff @ f + R_fo @ o)
    c_new = f_new * c + i_new * c_tilde
    o_new = sigmoid(W_o @ h + U_o @ x + p_o * c_new + b_o + R_oi @ i + R_of @ f + R_oo @ o)
    h_new = o_new * tanh(c_new)
    return h_new, c_new, i_new, f_new, o_new


ZOO = (
    lstm,
    lstm_packed,
    lstm_1997,
    lstm_1997_truncated,
    lstm_peephole,
    lstm_peephole_full,
    lstm_gate_recurrent,
)
