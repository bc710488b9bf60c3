"""A child-sum Tree-LSTM over trees given as lists of children, one tree after the other.

Nodes come children first. Every node has a forget gate for each child, so that a child's gradient
comes from its parent's gates (through the sum of h), from its own forget gate and from its cell.

    gradcheck-rnn verify examples/tree_lstm.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, gradient_case, load


def sigmoid(x):
    """1 / (1 + exp(−x))."""
    return 1 / (1 + np.exp(-x))


def tree_forward(x, rows, children, W, U, b, H, C):
    """x (T, B, D); W, U, b with i, o, u stacked and f last; H, C (B, N, P) hold a row a node."""
    H, C, tape = H.copy(), C.copy(), []
    h, c = np.empty((*x.shape[:2], H.shape[2])), np.empty((*x.shape[:2], H.shape[2]))
    gates = x @ W.T + b
    for t in range(len(x)):
        for s in range(x.shape[1]):
            below = np.flatnonzero(children[t, s])
            ha, ca = H[s, below].copy(), C[s, below].copy()
            iou, f = np.split(gates[t, s], [3 * H.shape[2]])
            i, o, u = np.split(iou + U[: len(iou)] @ ha.sum(axis=0), 3)
            i, o, u = sigmoid(i), sigmoid(o), np.tanh(u)
            f = sigmoid(f + ha @ U[len(iou) :].T)
            c[t, s] = i * u + (f * ca).sum(axis=0)
            h[t, s] = o * np.tanh(c[t, s])
            H[s, rows[t, s]] += h[t, s]
            C[s, rows[t, s]] += c[t, s]
            tape.append((t, s, below, ha, ca, i, o, u, f))
    return h, c, H, C, (x, rows, W, U, c, tape)


def tree_backward(dh, dc, dH, dC, saved):
    """Gradients from those of h and c of every node and of the rows at the end."""
    x, rows, W, U, c, tape = saved
    dH, dC = dH.copy(), dC.copy()
    dgates, dU = np.zeros((*x.shape[:2], len(W))), np.zeros_like(U)
    n = 3 * dH.shape[2]
    for t, s, below, ha, ca, i, o, u, f in reversed(tape):
        gh = dh[t, s] + dH[s, rows[t, s]]
        y = np.tanh(c[t, s])
        gc = dc[t, s] + dC[s, rows[t, s]] + gh * o * (1 - y**2)
        di, do, du = gc * u * i * (1 - i), gh * y * o * (1 - o), gc * i * (1 - u**2)
        diou, df = np.concatenate([di, do, du]), gc * ca * f * (1 - f)
        dgates[t, s] = np.concatenate([diou, df.sum(axis=0)])
        dU[:n] += np.outer(diou, ha.sum(axis=0))
        dU[n:] += df.T @ ha
        dH[s, below] += U[:n].T @ diou + df @ U[n:]
        dC[s, below] += gc * f
    flat = dgates.reshape(-1, len(W))
    return {
        "x": dgates @ W, "W": flat.T @ x.reshape(len(flat), -1), "U": dU, "b": flat.sum(axis=0),
        "H": dH, "C": dC,
    }  # fmt: skip


LAYOUT = Layout(
    parameters={
        "W": "[W_i; W_o; W_u; W_f]",
        "U": "[U_i; U_o; U_u; U_f]",
        "b": "[b_i; b_o; b_u; b_f]",
    },
    inputs={
        "x": "x: T B n",
        "rows": "labels of place: T B",
        "children": "children: T B n as bool",
        "H": "H0: B n p",
        "C": "C0: B n p",
    },
    outputs={
        "h": "h: T B n",
        "c": "c: T B n",
        "H_last": "H_final: B n p",
        "C_last": "C_final: B n p",
    },
)


@gradient_case(model=load("tree_lstm"), layout=LAYOUT)
def tree_lstm():
    """The trees beside the equations of the zoo, where a node's row is a one-hot vector."""

    def forward(**arrays):
        *made, saved = tree_forward(**arrays)
        return dict(zip(("h", "c", "H_last", "C_last"), made, strict=True)), saved

    def backward(g, saved):
        return tree_backward(g["h"], g["c"], g["H_last"], g["C_last"], saved)

    return forward, backward
