"""Names, order and cut of the equations."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn.language import (
    cell,
    concat,
    layer_norm,
    maximum,
    name,
    sigmoid,
    split,
    tanh,
    trace,
)
from gradcheck_rnn.language.cell import Cell
from gradcheck_rnn.language.values import describe


def text(definition: Cell) -> dict[str, str]:
    return {e.name: describe(e.rhs) for e in trace(definition).equations}


def test_names_come_from_locals_in_order() -> None:
    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
    def mine(x, h, W, U):
        drive = U @ x
        memory = W @ h
        return tanh(memory + drive)

    traced = trace(mine)
    assert text(mine) == {
        "drive": "(U @ x)",
        "memory": "(W @ h[t-1])",
        "a_h": "(memory + drive)",
        "h": "tanh(a_h)",
    }
    assert [e.named_by for e in traced.equations] == ["user", "user", "auto", "user"]


def test_name_overrides_the_local() -> None:
    @cell(states="h: p", params="W: p p")
    def mine(h, W):
        local = name(W @ h, "z")
        return tanh(local) + tanh(name(2 * local, "twice"))

    assert list(text(mine)) == ["z", "twice", "h"]


def test_rebinding_and_shadowing() -> None:
    @cell(inputs="x: p", states="h c: p", params="W: p p")
    def mine(x, h, c, W):
        x = W @ x  # a local of a declared name
        old = c
        c = x * c
        h = tanh(c) * old + h
        return h, c

    assert text(mine) == {
        "x_1": "(W @ x)",
        "c": "(x_1 * c[t-1])",
        "h": "((tanh(c) * c[t-1]) + h[t-1])",
    }


def test_same_name_twice_and_dropped_values() -> None:
    """A named value that is dropped does not lend its name to another one."""

    @cell(states="h: p", params="g b: p")
    def mine(h, g, b):
        for _ in range(50):
            name(h * h, "dropped")
        first = layer_norm(h, g, b)
        return layer_norm(first, g, b)

    assert list(text(mine)) == [
        "centred", "a_scale", "scale", "first", "centred_1", "a_scale_1", "scale_1", "h",
    ]  # fmt: skip


def test_shared_values_become_equations() -> None:
    @cell(states="h: p", params="W: p p")
    def mine(h, W):
        def twice(z):
            return z * tanh(z)

        return twice(W @ h)

    assert text(mine) == {"v": "(W @ h[t-1])", "h": "(v * tanh(v))"}


def test_sums_and_products_are_flat_and_ordered() -> None:
    @cell(states="h: p", params="a b c: p")
    def mine(h, a, b, c):
        return a + h - b + c * a * h

    assert text(mine)["h"] == "(a + h[t-1] - b + (c * a * h[t-1]))"


def test_copied_and_multiple_results() -> None:
    @cell(states="h g: p", params="W: p p", outputs="y h")
    def mine(h, g, W):
        new = tanh(W @ g)
        return {"h": new, "g": h, "y": new}

    assert text(mine) == {"a_h": "(W @ g[t-1])", "h": "tanh(a_h)", "g": "h[t-1]", "y": "h"}


def test_dict_tuple_list_and_single_results_agree() -> None:
    def body(h, W):
        return tanh(W @ h)

    kinds = [
        body,
        lambda h, W: (body(h, W),),
        lambda h, W: [body(h, W)],
        lambda h, W: {"h": body(h, W)},
    ]
    traced = [text(cell(f, states="h: p", params="W: p p", name="mine")) for f in kinds]
    assert all(t == traced[0] for t in traced)


def test_rest_receives_what_is_not_listed() -> None:
    @cell(inputs="x: p", states="h: p", params="W_1 W_2: p p")
    def mine(h, **rest):
        return rest["W_1"] @ h + rest["W_2"] @ rest["x"]

    assert text(mine) == {"h": "((W_1 @ h[t-1]) + (W_2 @ x))"}
    made = mine(x=np.ones((2, 1)), h=np.ones((2, 1)), W_1=np.eye(2), W_2=2 * np.eye(2))
    np.testing.assert_array_equal(made["h"], [[3.0], [3.0]])


def test_numpy_functions_are_the_same_operations() -> None:
    @cell(inputs="x: p", states="h: p", params="W: p p")
    def numpy_way(x, h, W):
        z = np.multiply(np.tanh(np.matmul(W, h)), np.exp(-np.abs(x)))
        u = np.where(x > 0, z, np.maximum(h, np.minimum(z, 0)))
        v = np.subtract(np.sqrt(np.square(u) + 1), np.divide(u, 2)) + np.dot(W, h)
        return np.add(v, np.negative(np.sin(v)) * np.cos(np.log(np.power(v, 2) + 1)))

    @cell(inputs="x: p", states="h: p", params="W: p p")
    def language_way(x, h, W):
        from gradcheck_rnn.language import cos, exp, log, minimum, sin, sqrt, where

        z = tanh(W @ h) * exp(-abs(x))
        u = where(x > 0, z, maximum(h, minimum(z, 0)))
        v = sqrt(u**2 + 1) - u / 2 + W @ h
        return v + -sin(v) * cos(log(v**2 + 1))

    assert text(numpy_way) == text(language_way)
    rng = np.random.default_rng(0)
    values = {n: rng.normal(size=(3, 3)) for n in ("x", "h", "W")}
    np.testing.assert_array_equal(numpy_way(**values)["h"], language_way(**values)["h"])


def test_dims_in_slices_and_splits() -> None:
    from gradcheck_rnn.language import dim

    @cell(states="h: 2*p; g: q", params="W: 2*p+q 2*p+q")
    def mine(h, g, W):
        joined = W @ concat(h, g)
        low, high, rest = split(joined, "p", "p", "q")
        return concat(high, low) + joined[: dim("2*p")], rest

    shapes = {e.name: str(e.shape) for e in trace(mine).equations}
    assert shapes == {
        "joined": "(2*p + q)", "low": "(p)", "high": "(p)", "g": "(q)", "h": "(2*p)",
    }  # fmt: skip
    W = np.arange(49.0).reshape(7, 7)
    made = mine(h=np.ones((4, 5)), g=np.ones((3, 5)), W=W)
    total = W.sum(axis=1)[:, None] * np.ones(5)
    np.testing.assert_allclose(made["g"], total[4:])
    np.testing.assert_allclose(made["h"], np.concatenate([total[2:4], total[:2]]) + total[:4])


def test_calling_a_definition_traces_nothing() -> None:
    """Two traces of one definition give equal equations and leave no state behind."""

    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
    def mine(x, h, W, U):
        f = sigmoid(W @ h + U @ x)
        return f * h

    first = text(mine)
    mine(x=np.ones((2, 1)), h=np.ones((3, 1)), W=np.ones((3, 3)), U=np.ones((3, 2)))
    assert text(mine) == first


def test_a_running_profiler_survives_a_trace() -> None:
    import cProfile

    from gradcheck_rnn.language import cell, tanh, trace

    @cell(inputs="x: d", states="h: d")
    def small(x, h):  # type: ignore[no-untyped-def]
        return tanh(x + h)

    profile = cProfile.Profile()
    profile.enable()
    assert [e.name for e in trace(small).equations] == ["a_h", "h"]
    len("counted after the trace")
    profile.disable()
    counted = {entry.code for entry in profile.getstats() if isinstance(entry.code, str)}
    assert "<built-in method builtins.len>" in counted


def test_a_candidate_has_the_letter_of_its_weights() -> None:
    @cell(inputs="x: d", states="h: p", params="W_c W_r W: p p; U_c U: p d; b_c: p")
    def gated(h, x, W_c, W_r, W, U_c, U, b_c):
        r = sigmoid(W_r @ h)
        h_tilde = tanh(W_c @ (r * h) + U_c @ x + b_c)
        g_tilde = tanh(W @ h + U @ x)
        m_tilde = tanh(W_c @ h + W_r @ h)
        return r * h_tilde + g_tilde + m_tilde

    names = [e.name for e in trace(gated).equations]
    assert names == ["a_r", "r", "a_c", "h_tilde", "a_g", "g_tilde", "a_m", "m_tilde", "h"]
