"""LSTM steps: factors, gates and carries that were wrong in public code."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import Layout, cell, check_model, load
from gradcheck_rnn.language import sigmoid as symbolic_sigmoid
from gradcheck_rnn.language import tanh
from tests.museum.exhibits import exhibit
from tests.museum.parts import Arrays, lstm_backward, lstm_forward, lstm_step, sigmoid

ALL = "x h0 c0 Wx Wh b"


@exhibit(
    "https://github.com/deeplearning4j/deeplearning4j/issues/8838",
    "The gradient of the last cell state is not added to dc at the last step.",
    arrays=ALL,
    term=("final state c is lost",),
    place=("c_final alone|c_T alone",),
)
def dl4j_8838_last_cell_state(wrong: bool) -> Any:
    right = lstm_backward(lstm_step)

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        dropped = {"c_T": 0 * cotangents["c_T"]} if wrong else {}
        return right(cotangents | dropped, saved)

    # check
    model = load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/apache/mxnet/issues/4057",
    "dc is assigned from the path through h where it has to be added to what comes from c_{t+1}.",
    arrays=ALL,
    term=("δc that a step receives.*is ignored",),
)
def mxnet_4057_cell_carry_overwritten(wrong: bool) -> Any:
    def local(dh: Any, dc: Any, step: Any) -> Any:
        return lstm_step(dh, 0 * dc if wrong else dc, step)

    # check
    backward, model = lstm_backward(local), load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/CaptainE/RNN-LSTM-in-numpy/issues/1",
    "df is multiplied by sigmoid(f) where it needs the derivative f (1 - f).",
    arrays="x h0 c0 Wx Wh b",
    term=("a_\\{f,t\\}.*σ|σ.*f_t",),
)
def captaine_1_sigmoid_for_its_derivative(wrong: bool) -> Any:
    def local(dh: Any, dc: Any, step: Any) -> Any:
        i, f, o, g, c, c_prev, _, _ = step
        th = np.tanh(c)
        dc = dc + dh * o * (1 - th**2)
        df = dc * c_prev * (sigmoid(f) if wrong else f * (1 - f))
        da = [dc * g * i * (1 - i), df, dh * th * o * (1 - o), dc * i * (1 - g**2)]
        return np.concatenate(da, axis=1), dc * f

    # check
    backward, model = lstm_backward(local), load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/CaptainE/RNN-LSTM-in-numpy/issues/1",
    "dh_next and dC_next keep their first values: no step passes anything to the step before.",
    arrays=ALL,
    term=("only the (cotangents of the )?final|nothing is carried|carry",),
)
def captaine_1_nothing_carried(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        steps, x, Wx, Wh = saved
        dh_next, dc_next = cotangents["h_T"], cotangents["c_T"]
        dx, grads = np.empty_like(x), {"Wx": 0.0, "Wh": 0.0, "b": 0.0}
        for t in reversed(range(len(steps))):
            da, dc = lstm_step(dh_next + cotangents["h"][:, t], dc_next, steps[t])
            dx[:, t], dh = da @ Wx.T, da @ Wh.T
            grads["Wx"] += x[:, t].T @ da
            grads["Wh"] += steps[t][7].T @ da
            grads["b"] += da.sum(axis=0)
            if not wrong:
                dh_next, dc_next = dh, dc
        return grads | {"x": dx, "h0": dh, "c0": dc}

    # check
    model = load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/CaptainE/RNN-LSTM-in-numpy/issues/1",
    "Both mistakes of that backward pass at once, as they were.",
    arrays=ALL,
    term=("a_\\{f,t\\}.*σ|σ.*f_t", "nothing is carried|carry"),
)
def captaine_1_both(wrong: bool) -> Any:
    def local(dh: Any, dc: Any, step: Any) -> Any:
        da, dc = lstm_step(dh, dc, step)
        f, p = step[1], step[1].shape[1]
        if wrong:
            da[:, p : 2 * p] *= sigmoid(f) / (f * (1 - f))
        return da, dc

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        steps, x, Wx, Wh = saved
        dh_next, dc_next = cotangents["h_T"], cotangents["c_T"]
        dx, grads = np.empty_like(x), {"Wx": 0.0, "Wh": 0.0, "b": 0.0}
        for t in reversed(range(len(steps))):
            da, dc = local(dh_next + cotangents["h"][:, t], dc_next, steps[t])
            dx[:, t], dh = da @ Wx.T, da @ Wh.T
            grads["Wx"] += x[:, t].T @ da
            grads["Wh"] += steps[t][7].T @ da
            grads["b"] += da.sum(axis=0)
            if not wrong:
                dh_next, dc_next = dh, dc
        return grads | {"x": dx, "h0": dh, "c0": dc}

    # check
    model = load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/hanbt/learn_dl/issues/53",
    "The biases of the input and the output gate get the gradient of the forget gate's.",
    arrays="b",
    term=("b_f b_f b_f b_c, not b_i b_f b_o b_c|b_i.*δa_\\{f",),
)
def hanbt_53_biases_of_another_gate(wrong: bool) -> Any:
    right = lstm_backward(lstm_step)

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        grads = right(cotangents, saved)
        i, f, o, g = np.split(grads["b"], 4)
        grads["b"] = np.concatenate([f, f, f, g] if wrong else [i, f, o, g])
        return grads

    # check
    model = load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/wvabrinskas/Neuron/pull/181",
    "The input gate's error is multiplied by i again where dc/di is the candidate g.",
    arrays="x h0 Wx Wh b c0",
    term=("i_t instead of c̃_t",),
)
def neuron_181_input_gate_times_itself(wrong: bool) -> Any:
    def local(dh: Any, dc: Any, step: Any) -> Any:
        i, f, o, g, c, c_prev, _, _ = step
        th = np.tanh(c)
        dc = dc + dh * o * (1 - th**2)
        di = dc * (i if wrong else g) * i * (1 - i)
        da = [di, dc * c_prev * f * (1 - f), dh * th * o * (1 - o), dc * i * (1 - g**2)]
        return np.concatenate(da, axis=1), dc * f

    # check
    backward, model = lstm_backward(local), load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/wvabrinskas/Neuron/pull/181",
    "The derivative of tanh is taken at the activated value: 1 - tanh(tanh(x))², for c and g.",
    arrays=ALL,
    term=("φ′ taken at tanh\\(",),
)
def neuron_181_tanh_of_tanh(wrong: bool) -> Any:
    def slope(y: Any) -> Any:
        return 1 - np.tanh(y) ** 2 if wrong else 1 - y**2

    def local(dh: Any, dc: Any, step: Any) -> Any:
        i, f, o, g, c, c_prev, _, _ = step
        th = np.tanh(c)
        dc = dc + dh * o * slope(th)
        da = [dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dh * th * o * (1 - o)]
        return np.concatenate([*da, dc * i * slope(g)], axis=1), dc * f

    # check
    backward, model = lstm_backward(local), load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/wvabrinskas/Neuron/pull/181",
    "The rows of the gates' weight gradients that belong to the state read h_t for h_{t-1}.",
    arrays="Wh",
    term=("h_t instead of h_\\{t−1\\}",),
)
def neuron_181_state_of_this_step(wrong: bool) -> Any:
    # check
    backward, model = lstm_backward(lstm_step, seen=6 if wrong else 7), load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/wvabrinskas/Neuron/pull/181",
    "All three mistakes of that backward pass at once, as they were.",
    arrays=ALL,
    term=("i_t instead of c̃_t", "tanh\\(tanh", "h_t instead of h_\\{t−1\\}"),
    named="three mistakes at once are not told apart",
)
def neuron_181_all_three(wrong: bool) -> Any:
    def slope(y: Any) -> Any:
        return 1 - np.tanh(y) ** 2 if wrong else 1 - y**2

    def local(dh: Any, dc: Any, step: Any) -> Any:
        i, f, o, g, c, c_prev, _, _ = step
        th = np.tanh(c)
        dc = dc + dh * o * slope(th)
        di = dc * (i if wrong else g) * i * (1 - i)
        da = [di, dc * c_prev * f * (1 - f), dh * th * o * (1 - o), dc * i * slope(g)]
        return np.concatenate(da, axis=1), dc * f

    # check
    backward, model = lstm_backward(local, seen=6 if wrong else 7), load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/jinzishuai/learn2deeplearn/issues/44",
    "The course's equation for the candidate lost a bracket: the slope stands on one of two terms.",
    arrays=ALL,
    term=("a_\\{c,t\\}.*φ′|φ′.*a_\\{c,t\\}",),
)
def coursera_44_lost_bracket(wrong: bool) -> Any:
    def local(dh: Any, dc_next: Any, step: Any) -> Any:
        i, f, o, g, c, c_prev, _, _ = step
        th = np.tanh(c)
        through = dh * o * (1 - th**2)
        dc = dc_next + through
        dg = (dc_next * i if wrong else dc_next * i * (1 - g**2)) + through * i * (1 - g**2)
        da = [dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dh * th * o * (1 - o), dg]
        return np.concatenate(da, axis=1), dc * f

    # check
    backward, model = lstm_backward(local), load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/nicklashansen/rnn_lstm_from_scratch/issues/1",
    "The forget gate gets the gradient that arrives at c from c_{t+1}, not the one through h_t.",
    arrays=ALL,
    term=("a_\\{f,t\\}",),
    named="not among the mistakes that are tried",
)
def nicklashansen_1_forget_gate_misses_h(wrong: bool) -> Any:
    def local(dh: Any, dc_next: Any, step: Any) -> Any:
        i, f, o, g, c, c_prev, _, _ = step
        th = np.tanh(c)
        dc = dc_next + dh * o * (1 - th**2)
        df = (dc_next if wrong else dc) * c_prev * f * (1 - f)
        da = [dc * g * i * (1 - i), df, dh * th * o * (1 - o), dc * i * (1 - g**2)]
        return np.concatenate(da, axis=1), dc * f

    # check
    backward, model = lstm_backward(local), load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/javaidnabi31/RNN-from-scratch/issues/2",
    "dc += dc: the cell state's gradient is doubled where the path through the output is added.",
    arrays=ALL,
    term=("δc_t",),
)
def javaidnabi_2_dc_doubled(wrong: bool) -> Any:
    def local(dh: Any, dc: Any, step: Any) -> Any:
        i, f, o, g, c, c_prev, _, _ = step
        th = np.tanh(c)
        dc = dc + (dc if wrong else dh * o * (1 - th**2))
        da = [dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dh * th * o * (1 - o)]
        return np.concatenate([*da, dc * i * (1 - g**2)], axis=1), dc * f

    # check
    backward, model = lstm_backward(local), load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/nicodjimenez/lstm/pull/49",
    "The patch takes top_diff_s, the gradient that comes along the cell state, out of ds.",
    arrays="W b x h0 s0",
    term=("δs that a step receives.*is ignored",),
)
def nicodjimenez_49_carousel_removed(wrong: bool) -> Any:
    def forward(x: Any, h0: Any, s0: Any, W: Any, b: Any) -> Any:  # W packs g, i, f, o
        h, s, hs, steps = h0, s0, [], []
        for x_t in x:
            z = np.concatenate([x_t, h], axis=1)
            g, i, f, o = np.split(z @ W.T + b, 4, axis=1)
            g, i, f, o = np.tanh(g), sigmoid(i), sigmoid(f), sigmoid(o)
            s_prev, s = s, g * i + s * f
            h = s * o
            steps.append((z, g, i, f, o, s_prev, s))
            hs.append(h)
        return (np.stack(hs), h, s), (steps, W, x)

    def backward(cotangents: Any, saved: Any) -> Any:
        steps, W, x = saved
        d = x.shape[2]
        dh, ds = cotangents["h_final"], cotangents["s_final"]
        dx, dW, db = np.empty_like(x), np.zeros_like(W), 0.0
        for t in reversed(range(len(steps))):
            z, g, i, f, o, s_prev, s = steps[t]
            dh = dh + cotangents["h"][t]
            ds = o * dh + (0 * ds if wrong else ds)
            da = [ds * i * (1 - g**2), ds * g * i * (1 - i), ds * s_prev * f * (1 - f)]
            da = np.concatenate([*da, dh * s * o * (1 - o)], axis=1)
            dW, db, dz = dW + da.T @ z, db + da.sum(axis=0), da @ W
            dx[t], dh, ds = dz[:, :d], dz[:, d:], ds * f
        return {"x": dx, "h0": dh, "s0": ds, "W": dW, "b": db}

    # check
    weights = "W_g W_i W_f W_o: p p; U_g U_i U_f U_o: p d; b_g b_i b_f b_o: p"

    @cell(inputs="x: d", states="h s: p", params=weights)
    def carousel(h, s, x, W_g, W_i, W_f, W_o, U_g, U_i, U_f, U_o, b_g, b_i, b_f, b_o):
        g = tanh(W_g @ h + U_g @ x + b_g)
        i = symbolic_sigmoid(W_i @ h + U_i @ x + b_i)
        f = symbolic_sigmoid(W_f @ h + U_f @ x + b_f)
        o = symbolic_sigmoid(W_o @ h + U_o @ x + b_o)
        s = g * i + s * f
        h = s * o
        return h, s

    layout = Layout(
        parameters={
            "W": "[U_g, W_g; U_i, W_i; U_f, W_f; U_o, W_o]",
            "b": "[b_g; b_i; b_f; b_o]",
        },
        inputs={"x": "x: T B n", "h0": "h0: B n", "s0": "s0: B n"},
        outputs={"h": "h: T B n", "h_final": "h_final", "s_final": "s_final"},
    )
    return check_model(carousel, forward=forward, backward=backward, layout=layout)
