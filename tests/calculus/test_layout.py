"""Jacobian objects: conversion between layouts and vec orders, and the refusal to mix them."""

import numpy as np
import pytest

from gradcheck_rnn.calculus.layout import Jacobian
from gradcheck_rnn.calculus.terms import Commutation, Eye, Kron, Sym, Times, Transpose, dim
from gradcheck_rnn.calculus.vec import vec_coefficient
from gradcheck_rnn.errors import DimensionError, UsageError
from tests.calculus.dense import dense, random_values, vec

DIMS = {"m": 2, "n": 3, "r": 4, "s": 5}
m, n, r, s = (dim(k) for k in "mnrs")
A, B = Sym("A", m, n), Sym("B", r, s)
dX = Sym("X", n, r, mark="d")
F = Times(A, dX, B)
J = Jacobian(vec_coefficient(F, dX)[0], "F", "X", of_shape=(m, s), wrt_shape=(n, r))
VALUES = random_values(F, DIMS)


def stacked(x, order):
    return vec(x) if order == "columns" else vec(x.T)


def error(jacobian):
    """Largest entry of vec F − J vec X in the conventions that the object states."""
    matrix = dense(jacobian.matrix, VALUES, DIMS)
    if jacobian.layout == "denominator":
        matrix = matrix.T
    left = stacked(dense(F, VALUES, DIMS), jacobian.vec_order)
    return np.abs(matrix @ stacked(VALUES[dX], jacobian.vec_order) - left).max()


@pytest.mark.parametrize("layout", ["numerator", "denominator"])
@pytest.mark.parametrize("order", ["columns", "rows"])
def test_conversions(layout, order):
    converted = J.to_layout(layout).to_vec_order(order)
    assert (converted.layout, converted.vec_order) == (layout, order)
    assert error(converted) < 1e-12
    assert layout in str(converted)
    assert order in str(converted)
    back = converted.to_vec_order("columns").to_layout("numerator")
    assert back == J


def test_mislabelled_conventions_are_noticed():
    wrong = Jacobian(J.matrix, "F", "X", vec_order="rows", of_shape=(m, s), wrt_shape=(n, r))
    assert error(wrong) > 1e-2
    swapped = Times(Commutation(s, m), J.matrix, Commutation(n, r))
    wrong = Jacobian(swapped, "F", "X", vec_order="rows", of_shape=(m, s), wrt_shape=(n, r))
    assert error(wrong) > 1e-2


def test_printing():
    h = Sym("h", "p", lag=1, kind="state")
    j = Jacobian(Kron(h.T, Eye("p")), "h_t", "W", of_shape=("p", 1), wrt_shape=("p", "p"))
    assert str(j) == (
        "∂vec h_t/∂(vec W)ᵀ = h_{t−1}ᵀ ⊗ I_p    [numerator layout, vec stacks columns]"
    )
    assert str(j.to_layout("denominator")) == (
        "∂(vec h_t)ᵀ/∂vec W = (h_{t−1}ᵀ ⊗ I_p)ᵀ    [denominator layout, vec stacks columns]"
    )
    rows = j.to_vec_order("rows")
    assert rows.title == "∂vec(h_tᵀ)/∂vec(Wᵀ)ᵀ"
    assert rows.matrix == Times(Kron(h.T, Eye("p")), Commutation("p", "p"))


def test_chain_rule_in_both_layouts():
    C = Sym("C", m, s)
    outer = Jacobian(Kron(Eye(s), Sym("G", 2, m)), "G F", "F", of_shape=(2, s), wrt_shape=(m, s))
    product = outer @ J
    assert (product.of, product.wrt) == ("G F", "X")
    assert product.matrix == Times(outer.matrix, J.matrix)
    turned = outer.to_layout("denominator") @ J.to_layout("denominator")
    assert turned.matrix == Times(Transpose(J.matrix), Transpose(outer.matrix))
    assert (J + J).matrix == J.matrix + J.matrix
    assert C.shape == (m, s)


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        (lambda: J + J.to_layout("denominator"), ["numerator", "denominator", "to_layout"]),
        (lambda: J + J.to_vec_order("rows"), ["columns", "rows", "to_vec_order"]),
        (lambda: J @ J, ["chain rule", "X"]),
        (lambda: J + Jacobian(J.matrix, "G", "X"), ["different derivatives"]),
        (lambda: J + J.matrix, ["bare matrix"]),
        (lambda: J.to_layout("mixed"), ["'mixed'", "numerator or denominator"]),
        (lambda: Jacobian(A, "F", "X", vec_order="both"), ["'both'"]),
        (lambda: Jacobian(A, "F", "X").to_vec_order("rows"), ["shape of F", "of_shape"]),
    ],
)
def test_mixing_is_refused(mix, words):
    with pytest.raises(UsageError) as caught:
        mix()
    for word in words:
        assert word in str(caught.value)


def test_the_matrix_must_have_the_shape_of_its_layout():
    with pytest.raises(DimensionError, match=r"denominator layout.*X has n·r entries"):
        Jacobian(J.matrix, "F", "X", layout="denominator", of_shape=(m, s), wrt_shape=(n, r))
