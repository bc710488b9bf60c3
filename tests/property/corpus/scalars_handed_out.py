"""Scalars that are inputs, squares and sums, handed out and in the loss."""

from gradcheck_rnn.language import cell, elementwise, exp, frozen, sqrt, sum, tanh  # noqa: A004

hill = elementwise("hill", "1 / (1 + x**2)")


@cell(
    inputs="x1 x2: ; x3 x4: p; x5: d",
    states="h: q",
    params="W: q q",
    outputs="h y1 y2 y3 y4 y5 loss",
)
def definition(x1, x2, x3, x4, x5, h, W):
    v2 = sqrt(exp(tanh(abs(x2))))
    new = hill(W @ h + W @ h)
    loss = x1 + sum(x5)
    return new, x1 * x1, v2, x1, x3, frozen(x4), loss
