"""Classes with forward and backward, given as they are; layouts of any definition by one word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import GradcheckError, check_model, gradient_case, load
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.harness.objects import is_object_code
from gradcheck_rnn.verify.harness.ready import ready
from gradcheck_rnn.verify.verdict import Verdict

from . import elman_by_hand as by_hand

ELMAN = load("elman_hidden")
QUICK = {"plan": "point", "diagnose": False}


class Rows:
    """x is (T, B, d); all cotangents by name, gradients returned by name."""

    carry = True

    def __init__(self, W, U, b_i):
        self.W, self.U, self.b_i = W, U, b_i

    def forward(self, x, h0):
        self.x, self.h = x, [h0]
        for x_t in x:
            self.h.append(np.tanh(self.h[-1] @ self.W.T + x_t @ self.U.T + self.b_i))
        return np.stack(self.h[1:]), self.h[-1]

    def backward(self, dh, dh_final):
        back = self.pull(dh, dh_final)
        return {f"d{n}": g for n, g in back.items()}

    def pull(self, dh, carry) -> dict[str, Any]:
        found = {n: np.zeros_like(getattr(self, n)) for n in ("W", "U", "b_i", "x")}
        for t in reversed(range(len(self.x))):
            da = (dh[t] + carry) * (1 - self.h[t + 1] ** 2)
            found["W"] += da.T @ self.h[t]
            found["U"] += da.T @ self.x[t]
            found["b_i"] += da.sum(axis=0)
            found["x"][t] = da @ self.U
            carry = da @ self.W if self.carry else 0 * carry
        return found | {"h0": carry}


class Forgets(Rows):
    carry = False


class InOrder(Rows):
    """Other names for inputs and cotangents; a cache beside the outputs; a tuple of gradients."""

    def forward(self, given, start):
        return *super().forward(given, start), {"steps": len(given)}

    def backward(self, first, second):
        back = self.pull(first, second)
        return tuple(back[n] for n in ("W", "U", "b_i", "x", "h0"))


class Keeps(Rows):
    """Cotangents in a dict; gradients of parameters added to what the object keeps."""

    def __init__(self, p=2, d=4):
        self.params = {"W": np.ones((p, p)), "U": np.ones((p, d)), "b_i": np.ones(p)}
        self.grads = {n: np.zeros_like(a) for n, a in self.params.items()}

    def __getattr__(self, name):
        if name in ("W", "U", "b_i"):
            return self.params[name]
        raise AttributeError(name)

    def backward(self, cotangents):
        back = self.pull(cotangents["h"], cotangents["h_final"])
        for n in self.params:
            self.grads[n] = self.grads[n] + back[n]
        return back["x"], back["h0"]


class Attributes(Rows):
    def __init__(self, sizes):
        raise AssertionError("an object is copied, not made anew")

    def backward(self, dh, dh_final):
        for n, g in self.pull(dh, dh_final).items():
            setattr(self, f"d{n}", g)


def ready_object() -> Attributes:
    made = Attributes.__new__(Attributes)
    made.W, made.U, made.b_i = np.zeros((3, 3)), np.zeros((3, 2)), np.zeros(3)
    return made


@pytest.mark.parametrize("code", [Rows, InOrder, Keeps(), Keeps(3, 2), ready_object()])
def test_a_right_class_or_object_passes(code) -> None:
    report = check_model(ELMAN, module=code, **QUICK)
    assert report.verdict is Verdict.PASS, str(report)
    assert [row.name for row in report.rows] == ["W", "U", "b_i", "x", "h0"]


def test_a_wrong_class_fails_by_name() -> None:
    report = check_model(ELMAN, module=Forgets)
    assert report.verdict is Verdict.FAIL
    assert "δh_{t−1}" in report.sentence()


def test_a_case_returns_a_class() -> None:
    @gradient_case(model=ELMAN)
    def case():
        return InOrder

    assert case.check(budget=100).verdict is Verdict.PASS


def test_what_is_lost_is_not_passed() -> None:
    class Silent(Attributes):
        def backward(self, dh, dh_final):
            super().backward(dh, dh_final)
            del self.dU

    made = Silent.__new__(Silent)
    made.W, made.U, made.b_i = np.zeros((3, 3)), np.zeros((3, 2)), np.zeros(3)
    with pytest.raises(UsageError, match="the gradient of 'U' is missing"):
        check_model(ELMAN, module=made, **QUICK)


def test_a_change_of_a_weight_is_seen() -> None:
    class Updates(Rows):
        def backward(self, dh, dh_final):
            found = super().backward(dh, dh_final)
            self.W -= 0.1 * found["dW"]
            return found

    report = check_model(ELMAN, module=Updates, **QUICK)
    assert report.verdict is Verdict.FAIL
    assert "backward changes its argument 'W'" in str(report)


class Sized(Rows):
    def __init__(self, n):
        super().__init__(np.zeros((n, n)), np.zeros((n, n)), np.zeros(n))


class Three(Rows):
    def backward(self, dh, carry, scale):
        return dh


class TooFew(Rows):
    def backward(self, dh, dh_final):
        return dh, dh_final, dh


class Bare:
    def forward(self, x, h0):
        return x, h0

    def backward(self, dh, dh_final):
        return {}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (Sized, "Sized takes 'n', which is no parameter of the layout"),
        (Bare, "'W', but the Bare has no attribute"),
        (TooFew, "TooFew.backward returned 3 gradients for 5 arrays"),
        (Three, "Three.backward takes dh, carry, scale, but there are 2 outputs (h, h_final)"),
        (Sized(3), "'U' has shape"),
    ],
)
def test_mistakes_are_said(code, said: str) -> None:
    if not isinstance(code, type):
        code.U = np.zeros((4, 2))
    with pytest.raises(GradcheckError, match=r"check_model|shape") as caught:
        check_model(ELMAN, module=code, **QUICK)
    assert said in str(caught.value)


def test_what_counts_as_such_code() -> None:
    assert is_object_code(Rows)
    assert is_object_code(Keeps())
    assert not is_object_code(np)
    assert not is_object_code(lambda: None)


SIZES = {"d": 2, "p": 3}


def shapes(layout: str, cell: str) -> dict[str, tuple[int, ...]]:
    network = load(cell)
    return ready(layout, network).fit(network, SIZES, 5, {"T": 7}).shapes


def test_any_definition_in_a_layout_of_its_own() -> None:
    assert shapes("own", "elman_hidden") == {
        "W": (3, 3), "U": (3, 2), "b_i": (3,), "x": (7, 5, 2), "h0": (5, 3), "h": (7, 5, 3),
        "h_final": (5, 3),
    }  # fmt: skip
    turned = shapes("own transposed batch_first", "elman_hidden")
    assert turned["U"] == (2, 3)
    assert turned["x"] == (5, 7, 2)
    columns = shapes("own columns", "elman_hidden")
    assert columns["b_i"] == (3, 1)
    assert columns["x"] == (7, 2, 5)
    assert columns["h0"] == (3, 5)
    assert "h0" not in shapes("own without=h0,h_final", "elman_hidden")
    with pytest.raises(UsageError, match="of any definition"):
        ready("own")
    with pytest.raises(UsageError, match="exclude"):
        ready("own batch_first columns", load("gru"))


def test_one_matrix_a_gate() -> None:
    held = shapes("columns lstm hidden=s", "lstm")
    assert held["Wf"] == (3, 5)
    assert held["bo"] == (3, 1)
    assert held["s0"] == (3, 5)
    assert held["x"] == (2, 5, 7)
    assert shapes("columns gru", "gru")["Wz"] == (3, 5)
    assert shapes("columns rnn", "elman_hidden")["W"] == (3, 5)


def test_two_matrices_a_gate_in_names_of_ones_own() -> None:
    held = shapes("separate gru rename=x:xs,h0:start", "gru")
    assert held["Wz"] == held["Wh"] == (3, 2)
    assert held["Uz"] == held["Uh"] == (3, 3)
    assert held["bh"] == (3, 1)
    assert held["xs"] == (7, 2, 5)
    assert held["start"] == (3, 5)
    rows = shapes("separate lstm batch_first inputs=W_x states=W_h biases=b_ candidate=g", "lstm")
    assert rows["W_xg"] == (2, 3)
    assert rows["b_g"] == (3,)
    assert rows["x"] == (5, 7, 2)
    assert shapes("separate rnn rows", "elman_hidden")["W"] == (2, 3)
    layout = ready("separate lstm rename=h:c0,Wf:Wi,Wi:Wf")
    assert layout.parameters["Wi"] == "U_f"
    assert layout.outputs["c0"] == "h: T n B"


def test_any_order_of_axes() -> None:
    held = shapes("columns gru axes=T,n,B rename=x:xs", "gru")
    assert held["xs"] == (7, 2, 5)
    assert held["a0"] == (3, 5)
    assert held["Wz"] == (3, 5)
    assert shapes("columns gru axes=B,T,n", "gru")["a0"] == (5, 3)
    state = ready("pytorch lstm axes=B,n,T").inputs
    assert state["input"] == "x: B n T"
    assert state["h_0"] == "h0: 1 B n"  # with an axis of its own: left as it is


def test_parameters_in_one_array() -> None:
    held = shapes("separate gru join=gates:[U_r;U_z],b:[b_r;b_z] rename=x:xs", "gru")
    assert (held["gates"], held["b"], held["Wh"]) == ((6, 2), (6, 1), (3, 2))
    assert "Wz" not in held
    spaced = ready(
        "separate gru rows join=gates:[U_r.T, U_z.T],b:([b_r; b_z] as row),all:flat(W_r,W_z)"
    )
    assert list(spaced.parameters)[:3] == ["gates", "Wh", "all"]
    assert spaced.parameters["gates"] == "[U_r.T, U_z.T]"
    assert spaced.parameters["b"] == "[b_r; b_z] as row"
    assert spaced.parameters["all"] == "flat(W_r,W_z)"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("separate gru join=b:[b_q]", "join takes an array .* with names of U_z.*not 'b:.b_q.'"),
        ("separate gru join=[b_r;b_z]", "join takes an array"),
        ("separate gru join=bh:[b_r;b_z]", "two arrays are called 'bh'"),
        ("separate gru join", "join needs a value"),
        ("separate gru inputs=U", "must differ"),
        ("separate lstm candidate=f", "letter of another gate"),
        ("separate gru rename=q:r", "pairs old:new, .* of Wz, Wr"),
        ("separate gru rename=x", "rename takes pairs"),
        ("separate gru rename=x:Wz", "two arrays have one name"),
        ("separate gru rename=x:h0", "two arrays have one name"),
        ("separate gru axes=T,B", "axes=T,n,B; x has T, n, B"),
        ("linear-attention gla axes=T,n,B", "q has B, T, H, n"),
    ],
)
def test_names_that_make_no_layout(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ready(name)


class Separate:
    """A GRU as lectures write it, in names of its own."""

    def __init__(self, Wz, Uz, bz, Wr, Ur, br, Wh, Uh, bh):
        self.p = {n: a for n, a in locals().items() if n != "self"}

    def forward(self, xs, h0):
        p, self.kept, hidden, h = self.p, [], [], h0
        for x in xs:
            z, r = (1 / (1 + np.exp(-p[f"W{g}"] @ x - p[f"U{g}"] @ h - p[f"b{g}"])) for g in "zr")
            n = np.tanh(p["Wh"] @ x + p["Uh"] @ (r * h) + p["bh"])
            self.kept.append((x, h, z, r, n))
            h = (1 - z) * h + z * n
            hidden.append(h)
        return np.stack(hidden), h

    def backward(self, dhs, dh):
        p, g, dxs = self.p, {n: np.zeros_like(a) for n, a in self.p.items()}, []
        for (x, h, z, r, n), given in zip(self.kept[::-1], dhs[::-1], strict=True):
            dh = dh + given
            dn = dh * z * (1 - n * n)
            back = p["Uh"].T @ dn
            gates = {"z": dh * (n - h) * z * (1 - z), "r": back * h * r * (1 - r), "h": dn}
            for k, d in gates.items():
                g["W" + k] += d @ x.T
                g["U" + k] += d @ (r * h if k == "h" else h).T
                g["b" + k] += d.sum(1, keepdims=True)
            dxs.append(sum(p[f"W{k}"].T @ d for k, d in gates.items()))
            dh = dh * (1 - z) + back * r + sum(p[f"U{k}"].T @ gates[k] for k in "zr")
        return g, np.stack(dxs[::-1]), dh


def test_a_class_in_its_own_names_needs_one_line() -> None:
    layout = "separate gru rename=x:xs"
    report = check_model(load("gru"), module=Separate, layout=layout, **QUICK)
    assert report.verdict is Verdict.PASS, str(report)


@pytest.mark.parametrize(
    "name", ["columns lstm without=q", "columns rnn without=a,a_T", "own wrong", "columns rnn x=1"]
)
def test_options_that_make_no_sense(name: str) -> None:
    with pytest.raises(UsageError, match=r"without|option"):
        ready(name, ELMAN)


def parameters_then_rest(change=lambda made: made):
    def backward(cotangents, cache):
        g = by_hand.backward(cotangents, cache)
        return change(({n: g.pop(n) for n in ("W", "U", "b_i")}, g["x"], g["h0"]))

    return {"forward": by_hand.forward, "backward": backward}


class DictFirst(Rows):
    def backward(self, dh, dh_final):
        back = self.pull(dh, dh_final)
        return {f"d{n}": back[n] for n in ("W", "U", "b_i", "h0")}, back["x"]


def test_a_dict_may_be_followed_by_the_gradients_that_it_does_not_name() -> None:
    assert check_model(ELMAN, **parameters_then_rest(), **QUICK).verdict is Verdict.PASS
    assert check_model(ELMAN, module=DictFirst, **QUICK).verdict is Verdict.PASS
    wrong = parameters_then_rest(lambda made: (*made[:2], 2 * made[2]))
    assert [
        r.name for r in check_model(ELMAN, **wrong, **QUICK).rows if r.verdict is not Verdict.PASS
    ] == ["h0"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: made[:2], r"followed by 1 gradients; .* of x, h0, in this order \(2 here\)"),
        (lambda made: (*made, made[1]), "followed by 3 gradients"),
        (lambda made: ({"V": made[1], **made[0]}, *made[1:]), "a gradient 'V' was returned"),
        (lambda made: (made[0], *made[:0:-1]), r"'x' has shape \(\d+, \d+\), by the layout"),
        (lambda made: tuple(made[0].values()), "3 gradients .* return all in this order"),
        (lambda made: (*made[0].values(), *made[:0:-1]), "come in the order W, U, b_i, x, h0"),
    ],
)
def test_what_does_not_follow_a_dict_is_said(change: Any, said: str) -> None:
    with pytest.raises(GradcheckError, match=said):
        check_model(ELMAN, **parameters_then_rest(change), **QUICK)


def test_a_backward_the_other_way_round_is_told_the_order() -> None:
    def turned(cache, cotangents):
        assert len(cache) == 4
        return by_hand.backward(dict(zip(("h", "h_final"), cotangents, strict=True)), cache)

    with pytest.raises(
        UsageError, match=r"called as backward\(cotangents, cache\): a dict of h, h_"
    ):
        check_model(ELMAN, forward=by_hand.forward, backward=turned, **QUICK)

    def broken(cotangents, cache):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        check_model(ELMAN, forward=by_hand.forward, backward=broken, **QUICK)
