"""Plain recurrent networks from courses, lectures and small repositories."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradcheck_rnn import check_gradient, check_model, check_vjp, load
from tests.museum.exhibits import exhibit
from tests.museum.parts import Arrays, elman_forward, normal, sigmoid


@exhibit(
    "https://github.com/VikParuchuri/zero_to_gpt/issues/9",
    "At the step that reads the first state, the weight gradient reads the state after it.",
    arrays="W",
    place=("step 1\\b|first step|steps? 2\\b",),
    term=("first step|h_1",),
)
def zero_to_gpt_9_state_at_the_first_step(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        x, h, W, U = saved
        dh, grads = cotangents["h_final"], {"W": 0.0, "U": 0.0, "b_i": 0.0}
        dx = np.empty_like(x)
        for t in reversed(range(len(x))):
            da = (cotangents["h"][t] + dh) * (1 - h[t + 1] ** 2)
            grads["W"] += da.T @ (h[1] if wrong and t == 0 else h[t])
            grads["U"] += da.T @ x[t]
            grads["b_i"] += da.sum(axis=0)
            dx[t], dh = da @ U, da @ W
        return grads | {"x": dx, "h0": dh}

    # check
    return check_model(load("elman_hidden"), forward=elman_forward, backward=backward)


@exhibit(
    "https://github.com/qixianbiao/RNN/issues/2",
    "The gradient of the state is not passed on to the step before.",
    arrays="W U b_i x h0",
    term=("nothing is carried",),
)
def qixianbiao_2_no_gradient_through_time(wrong: bool) -> Any:
    def forward(x: Any, h0: Any, W: Any, U: Any, b_i: Any, V: Any, b_y: Any) -> Any:
        out, saved = elman_forward(x, h0, W, U, b_i)
        return out | {"y": out["h"] @ V.T + b_y}, (*saved, V)

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        x, h, W, U, V = saved
        dy, dh = cotangents["y"], cotangents["h_final"]
        grads = {"V": np.einsum("tbq,tbp->qp", dy, h[1:]), "b_y": dy.sum(axis=(0, 1))}
        grads |= {"W": 0.0, "U": 0.0, "b_i": 0.0}
        dx = np.empty_like(x)
        for t in reversed(range(len(x))):
            carried = 0 * dh if wrong and t < len(x) - 1 else dh
            da = (dy[t] @ V + cotangents["h"][t] + carried) * (1 - h[t + 1] ** 2)
            grads["W"] += da.T @ h[t]
            grads["U"] += da.T @ x[t]
            grads["b_i"] += da.sum(axis=0)
            dx[t], dh = da @ U, da @ W
        return grads | {"x": dx, "h0": dh}

    # check
    return check_model(load("elman"), forward=forward, backward=backward)


@exhibit(
    "https://github.com/hanbt/learn_dl/issues/29",
    "delta_k is taken with the state of step k+1, and with the state itself for its derivative.",
    arrays="W U b_i x h0",
    term=("φ′|tanh",),
    named="not among the mistakes that are tried",
)
def hanbt_29_state_for_its_derivative(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        x, h, W, U = saved
        T = len(x)
        grads: Arrays = {"W": 0.0, "U": 0.0, "b_i": 0.0}
        da, dx = (cotangents["h"][-1] + cotangents["h_final"]) * (1 - h[T] ** 2), np.empty_like(x)
        for t in reversed(range(T)):
            grads["W"] += da.T @ h[t]
            grads["U"] += da.T @ x[t]
            grads["b_i"] += da.sum(axis=0)
            dx[t], dh = da @ U, da @ W
            if t:
                slope = h[t + 1] if wrong else 1 - h[t] ** 2
                da = (cotangents["h"][t - 1] + dh) * slope
        return grads | {"x": dx, "h0": dh}

    # check
    return check_model(load("elman_hidden"), forward=elman_forward, backward=backward)


def char_rnn(p: Arrays, xs: Any) -> tuple[Any, Any]:
    """States and probabilities of a character model: xs (B, T) integers, columns are units."""
    h, hs, probabilities = np.zeros((p["Wh"].shape[0], len(xs))), [], []
    for t in range(xs.shape[1]):
        h = np.tanh(p["Wx"][:, xs[:, t]] + p["Wh"] @ h + p["bh"][:, None])
        y = np.exp(p["Wy"] @ h + p["by"][:, None])
        hs.append(h)
        probabilities.append(y / y.sum(axis=0))
    return hs, probabilities


def char_loss(p: Arrays, xs: Any, targets: Any) -> Any:
    _, probabilities = char_rnn(p, xs)
    rows = range(len(xs))
    return -sum(np.log(y[targets[:, t], rows]).sum() for t, y in enumerate(probabilities))


def char_gradient(p: Arrays, xs: Any, targets: Any) -> Arrays:
    """The right gradient of `char_loss`."""
    hs, probabilities = char_rnn(p, xs)
    grads = {name: np.zeros_like(value) for name, value in p.items()}
    dh = 0.0
    for t in reversed(range(len(hs))):
        dy = probabilities[t].copy()
        dy[targets[:, t], range(len(xs))] -= 1
        da = (p["Wy"].T @ dy + dh) * (1 - hs[t] ** 2)
        grads["Wy"] += dy @ hs[t].T
        grads["by"] += dy.sum(axis=1)
        grads["bh"] += da.sum(axis=1)
        grads["Wh"] += da @ (hs[t - 1] if t else 0 * hs[0]).T
        np.add.at(grads["Wx"].T, xs[:, t], da.T)
        dh = p["Wh"].T @ da
    return grads


XS = np.array([[0, 2, 1, 2, 2], [3, 1, 1, 0, 4]])  # letters are met again, and one is not met
TARGETS = np.array([[2, 1, 2, 2, 3], [1, 1, 0, 4, 0]])
CHARS = {"Wx": (3, 6), "Wh": (3, 3), "bh": (3,), "Wy": (6, 3), "by": (6,)}


@exhibit(
    "https://github.com/rasbt/stat453-deep-learning-ss21/issues/5",
    "The readout's bias gradient is one sum over everything, the same number for all units.",
    arrays="by",
)
def stat453_5_one_sum_for_all_biases(wrong: bool) -> Any:
    def gradient(p: Arrays) -> Arrays:
        grads = char_gradient(p, XS, TARGETS)
        if wrong:
            grads["by"] = np.full(6, grads["by"].sum())
        return grads

    # check
    return check_gradient(lambda p: char_loss(p, XS, TARGETS), gradient, normal(**CHARS))


@exhibit(
    "https://github.com/kvfrans/notes/issues/5",
    "The bias gradient is the mean over the batch where it is the sum.",
    arrays="bh by",
    place=("0\\.5|half|factor|2 times",),
)
def kvfrans_5_mean_over_the_batch(wrong: bool) -> Any:
    def gradient(p: Arrays) -> Arrays:
        grads = char_gradient(p, XS, TARGETS)
        if wrong:
            grads |= {"bh": grads["bh"] / len(XS), "by": grads["by"] / len(XS)}
        return grads

    # check
    return check_gradient(lambda p: char_loss(p, XS, TARGETS), gradient, normal(**CHARS))


@exhibit(
    "https://github.com/rust0258/Deeplearning.ai-Natural-Language-Processing-Specialization/issues/64",
    "The bias gradient is a row sum of the weight gradient, (delta h') summed, not of delta.",
    arrays="by",
)
def nlp_64_bias_from_the_weight_gradient(wrong: bool) -> Any:
    def gradient(p: Arrays) -> Arrays:
        grads = char_gradient(p, XS, TARGETS)
        if wrong:
            grads["by"] = grads["Wy"].sum(axis=1)
        return grads

    # check
    return check_gradient(lambda p: char_loss(p, XS, TARGETS), gradient, normal(**CHARS))


@exhibit(
    "https://github.com/victorlempitsky/Mate/issues/2",
    "The softmax loss is a mean over the batch, its gradient is divided by all of its entries.",
    arrays="Wx Wh bh Wy by",
    place=("factor|0\\.1667|0\\.167|1/6|6 times",),
)
def mate_2_divided_by_all_entries(wrong: bool) -> Any:
    def loss(p: Arrays) -> Any:
        return char_loss(p, XS, TARGETS) / len(XS)

    def gradient(p: Arrays) -> Arrays:
        share = len(XS) * 6 if wrong else len(XS)
        return {n: g / share for n, g in char_gradient(p, XS, TARGETS).items()}

    # check
    return check_gradient(loss, gradient, normal(**CHARS))


@exhibit(
    "https://github.com/ZacBi/CS224n-2019-solutions/issues/5",
    "dE[indices] += … adds once for an index that is there twice: all but the last share is lost.",
    arrays="Wx",
    place=("3 of 18 entries", "\\[\\d, 1\\]"),
)
def cs224n_5_repeated_indices_added_once(wrong: bool) -> Any:
    def gradient(p: Arrays) -> Arrays:
        grads = char_gradient(p, XS, TARGETS)
        if wrong:  # both sequences have letter 1 at the third step
            alone = [char_gradient(p, XS[k : k + 1], TARGETS[k : k + 1])["Wx"] for k in (0, 1)]
            before = char_gradient(p, XS[:1, :2], TARGETS[:1, :2])["Wx"][:, 1]
            grads["Wx"][:, 1] -= alone[0][:, 1] - before
        return grads

    # check
    return check_gradient(lambda p: char_loss(p, XS, TARGETS), gradient, normal(**CHARS))


@exhibit(
    "https://github.com/ddbourgin/numpy-ml/issues/42",
    "Three gates are computed with the output gate's bias, but each bias gets its own gradient.",
    arrays="bf bu bo",
)
def numpy_ml_42_one_bias_for_three_gates(wrong: bool) -> Any:
    def forward(x: Any, W: Any, bf: Any, bu: Any, bc: Any, bo: Any) -> Any:
        h = c = np.zeros((x.shape[1], 3))
        hs, steps = [], []
        for x_t in x:
            z = np.concatenate([h, x_t], axis=1)
            af, au, ac, ao = np.split(z @ W, 4, axis=1)
            f, u = sigmoid(af + (bo if wrong else bf)), sigmoid(au + (bo if wrong else bu))
            g, o = np.tanh(ac + bc), sigmoid(ao + bo)
            c_prev, c = c, f * c + u * g
            h = o * np.tanh(c)
            steps.append((z, f, u, g, o, c_prev, c))
            hs.append(h)
        return np.stack(hs), (steps, W)

    def backward(dhs: Any, saved: Any) -> Arrays:
        steps, W = saved
        dh, dc, dW, db, dx = 0.0, 0.0, 0.0, 0.0, []
        for t in reversed(range(len(steps))):
            z, f, u, g, o, c_prev, c = steps[t]
            dh, th = dh + dhs[t], np.tanh(c)
            dc = dc + dh * o * (1 - th**2)
            da = [dc * c_prev * f * (1 - f), dc * g * u * (1 - u), dc * u * (1 - g**2)]
            da = np.concatenate([*da, dh * th * o * (1 - o)], axis=1)
            dW, db, dz, dc = dW + z.T @ da, db + da.sum(axis=0), da @ W.T, dc * f
            dh = dz[:, :3]
            dx.append(dz[:, 3:])
        names = ("bf", "bu", "bc", "bo")
        return {"x": np.stack(dx[::-1]), "W": dW} | dict(zip(names, np.split(db, 4), strict=True))

    # check
    inputs = normal(x=(4, 2, 1), W=(4, 12), bf=3, bu=3, bc=3, bo=3)
    return check_vjp(forward, backward, inputs, time_axis=0)


class Value:
    """A scalar with a gradient; `visit` decides how often a node passes its gradient on."""

    def __init__(self, data: float, parents: tuple[tuple[Value, float], ...] = ()) -> None:
        self.data, self.parents, self.grad = data, parents, 0.0

    def __add__(self, other: Value) -> Value:
        return Value(self.data + other.data, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other: Value) -> Value:
        return Value(self.data * other.data, ((self, other.data), (other, self.data)))

    def tanh(self) -> Value:
        y = math.tanh(self.data)
        return Value(y, ((self, 1 - y * y),))

    def backward_by_paths(self) -> None:
        """Each time a gradient arrives, all that has arrived so far is passed on again."""
        for parent, slope in self.parents:
            parent.grad += slope * self.grad
            parent.backward_by_paths()

    def backward_in_order(self) -> None:
        order: list[Value] = []
        seen: set[int] = set()

        def visit(node: Value) -> None:
            if id(node) not in seen:
                seen.add(id(node))
                for parent, _ in node.parents:
                    visit(parent)
                order.append(node)

        visit(self)
        for node in reversed(order):
            for parent, slope in node.parents:
                parent.grad += slope * node.grad


def scalar_rnn(w: Value, u: Value, xs: Any) -> Value:
    """A state of one unit, read twice at every step: h = tanh(w h + u x), loss Σ h²."""
    h, loss = Value(0.3), Value(0.0)
    for x in xs:
        h = (w * h + u * Value(float(x))).tanh()
        loss = loss + h * h
    return loss


def scalar_rnn_loss(p: Any) -> float:
    return scalar_rnn(Value(float(p[0])), Value(float(p[1])), (0.5, -1.2, 0.7)).data


@exhibit(
    "https://github.com/karpathy/micrograd/issues/2",
    "A value that is used twice passes on for each path what has arrived before, too.",
)
def micrograd_2_reused_values(wrong: bool) -> Any:
    def gradient(p: Any) -> Any:
        w, u = Value(float(p[0])), Value(float(p[1]))
        loss = scalar_rnn(w, u, (0.5, -1.2, 0.7))
        loss.grad = 1.0
        loss.backward_by_paths() if wrong else loss.backward_in_order()
        return np.array([w.grad, u.grad])

    # check
    return check_gradient(scalar_rnn_loss, gradient, np.array([0.8, -0.4]))


@exhibit(
    "https://github.com/karpathy/micrograd/pull/102",
    "Gradients are not set to zero first: each call adds to what the calls before have left.",
    place=("state|again|repeat|same (arguments|point|parameters)|calls?",),
)
def micrograd_102_gradients_of_earlier_calls(wrong: bool) -> Any:
    w, u = Value(0.0), Value(0.0)

    def gradient(p: Any) -> Any:
        w.data, u.data = float(p[0]), float(p[1])
        if not wrong:
            w.grad = u.grad = 0.0
        loss = scalar_rnn(w, u, (0.5, -1.2, 0.7))
        loss.grad = 1.0
        loss.backward_in_order()
        return np.array([w.grad, u.grad])

    # check
    return check_gradient(scalar_rnn_loss, gradient, np.array([0.8, -0.4]))


@exhibit(
    "https://github.com/OpenNMT/OpenNMT-py/issues/891",
    "Gradients are set to zero before every piece of truncated BPTT: the last piece remains.",
    arrays="W U",
)
def opennmt_891_only_the_last_piece(wrong: bool) -> Any:
    x, p0 = normal(x=(6, 2, 4))["x"], normal(0.5, W=(3, 3), U=(3, 4))

    def piece(p: Arrays, start: int, h0: Any) -> Any:
        return elman_forward(x[start : start + 2], h0, p["W"], p["U"], 0.0)

    held = [np.zeros((2, 3))]  # states that are passed on without gradient
    for start in (0, 2):
        held.append(piece(p0, start, held[-1])[0]["h_final"])

    def loss(p: Arrays) -> Any:
        return sum((piece(p, 2 * k, h0)[0]["h"] ** 2).sum() for k, h0 in enumerate(held))

    def gradient(p: Arrays) -> Arrays:
        for k, h0 in enumerate(held):
            if wrong or not k:
                grads = {"W": np.zeros((3, 3)), "U": np.zeros((3, 4))}
            out, (x_k, h, W, _) = piece(p, 2 * k, h0)
            dh = 0.0
            for t in (1, 0):
                da = (2 * out["h"][t] + dh) * (1 - h[t + 1] ** 2)
                grads["W"] += da.T @ h[t]
                grads["U"] += da.T @ x_k[t]
                dh = da @ W
        return grads

    # check
    return check_gradient(loss, gradient, p0)
