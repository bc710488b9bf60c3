"""A cell whose parameters, states, inputs, values and dims bear any names."""

from __future__ import annotations

import keyword
from typing import Any

from gradcheck_rnn.codegen.backends.cfamily import identifiers as c_names
from gradcheck_rnn.codegen.backends.cupy import config as cuda
from gradcheck_rnn.codegen.backends.expressions import declared_helpers
from gradcheck_rnn.codegen.backends.numpy import config as numpy
from gradcheck_rnn.language import cell, name, sigmoid, softmax, tanh
from gradcheck_rnn.language.cell import Cell
from gradcheck_rnn.language.primitives import sum as unit_sum

#: What the cell has to name.
PARAMETERS = ("W", "U", "V", "b", "s")
STATES = ("h", "c")
INPUTS = ("x", "k")
VALUES = ("z", "y")
DIMS = ("p", "d", "q")
ROLES = (*PARAMETERS, *STATES, *INPUTS, *VALUES, *DIMS)

_TEXT = """
    work_p work_d work_p_2 work_x work_2 d_h d_W d_c_prev h_prev h_t h_T W_T U_T h_final h_final_2
    h0 c0 h00 h_0 dW g_h loss target output saved_h lambda_2 np_2 value factor part ratio unit_sum
    d_weight weights over_time forward_h forward_step backward_step h_prev_j x_j b_b c_start h_last
    reversed range len dict int float sum max min abs type id print object list set tuple str
    NULL NAN INFINITY EOF M_PI INT_MAX REAL T_ B_ Bx t T0 i j n m e self cls x_ _t _ __x _W
    __shared__ __global__ __restrict__ _Complex __LINE__ linux unix errno double template and_
    xor bitand not_eq typename co_await float4 dim3 blockIdx threadIdx warpSize printf malloc main
    exp2 j0 y1 gamma lgamma signbit isnan é Ω straße ﬁeld ß W_ W__ ___ total_loss mask
"""
#: Names that something in a generated module, in Python, in C++ or in CUDA has already.
HOSTILE = tuple(
    dict.fromkeys(
        n
        for n in (
            *_TEXT.split(), *keyword.kwlist, *keyword.softkwlist, *numpy.RESERVED,
            *numpy.helper_texts(),
            *cuda.RESERVED, *cuda._DEVICE, *declared_helpers("cuda"), *sorted(c_names._CXX),
        )
        if n.isidentifier()
    )
)  # fmt: skip
#: Dims are ASCII and begin with a letter; T and B are the axes.
HOSTILE_DIMS = tuple(n for n in HOSTILE if n.isascii() and n[0].isalpha() and n not in "TB")


def made(names: dict[str, str]) -> Cell:
    """The cell with the names for the given roles; other roles bear their own."""
    n = {role: names.get(role, role) for role in ROLES}

    def function(**given: Any) -> dict[str, Any]:
        def value(role: str) -> Any:
            return given[n[role]]

        z = name(sigmoid(value("U") @ value("x") + value("s") * value("b")), n["z"])
        y = name(softmax(value("W") @ (value("h") * z) + value("b")), n["y"])
        r = tanh(value("V") @ value("c") + value("k"))
        c = value("c") * r + 0.5 * unit_sum(y * z) * value("k")
        return {n["h"]: tanh(y + value("h") * z * z) + value("b") * z, n["c"]: c}

    shapes = {"W": "p p", "U": "p d", "V": "q q", "b": "p", "s": "", "h": "p", "c": "q"}
    shapes |= {"x": "d", "k": "q"}

    def declared(roles: tuple[str, ...]) -> dict[str, str]:
        return {n[r]: " ".join(n[d] for d in shapes[r].split()) for r in roles}

    made: Cell = cell(
        function,
        inputs=declared(INPUTS),
        states=declared(STATES),
        params=declared(PARAMETERS),
        name="hostile",
    )
    return made
