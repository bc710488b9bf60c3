"""A character-level recurrent network in one file, its gradient written by hand.

The style is that of many scripts: weights are module globals, vectors are columns, one character
a step, `lossFun` runs forward and backward and hands back one array a weight.

    gradcheck-rnn verify examples/char_rnn.py     # is the gradient right?
    python examples/char_rnn.py some_text.txt     # train on a text of your own
"""

from __future__ import annotations

import sys

import numpy as np

from gradcheck_rnn import gradient_case

hidden_size = 100
seq_length = 25
learning_rate = 0.1

Wxh = Whh = Why = bh = by = np.zeros((0, 0))


def init(vocab_size, hidden, rng, scale=0.01):
    """Small random weights, zero biases."""
    global Wxh, Whh, Why, bh, by
    Wxh = rng.standard_normal((hidden, vocab_size)) * scale  # input to hidden
    Whh = rng.standard_normal((hidden, hidden)) * scale  # hidden to hidden
    Why = rng.standard_normal((vocab_size, hidden)) * scale  # hidden to output
    bh = np.zeros((hidden, 1))
    by = np.zeros((vocab_size, 1))


def lossFun(inputs, targets, hprev):
    """Cross-entropy of a window, its gradients, and the last hidden state.

    inputs and targets are lists of character numbers, hprev is (hidden, 1).
    """
    xs, hs, ps = {}, {-1: np.copy(hprev)}, {}
    loss = 0.0
    for t, (ix, target) in enumerate(zip(inputs, targets, strict=True)):
        xs[t] = np.zeros((Wxh.shape[1], 1))
        xs[t][ix] = 1
        hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1] + bh)
        scores = Why @ hs[t] + by
        e = np.exp(scores - scores.max())
        ps[t] = e / e.sum()
        loss += -np.log(ps[t][target, 0])

    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hprev)
    for t in reversed(range(len(inputs))):
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1  # softmax minus one-hot
        dWhy += dy @ hs[t].T
        dby += dy
        dh = Why.T @ dy + dhnext  # from the output and from the step after
        draw = (1 - hs[t] * hs[t]) * dh  # through tanh
        dbh += draw
        dWxh += draw @ xs[t].T
        dWhh += draw @ hs[t - 1].T
        dhnext = Whh.T @ draw
    return loss, dWxh, dWhh, dWhy, dbh, dby, hs[len(inputs) - 1]


@gradient_case
def char_rnn():
    """Seven characters, five hidden units, eight steps; the weights are set as globals."""
    rng = np.random.default_rng(0)
    init(vocab_size=7, hidden=5, rng=rng, scale=0.5)
    text, hprev = rng.integers(0, 7, size=9).tolist(), rng.standard_normal((5, 1))

    def run(weights):
        globals().update(weights)
        loss, *grads, _ = lossFun(text[:-1], text[1:], hprev)
        return loss, dict(zip(weights, grads, strict=True))

    return run, None, {"Wxh": Wxh, "Whh": Whh, "Why": Why, "bh": bh, "by": by}


def train(path, steps=2000):
    """Adagrad over the text, window after window."""
    with open(path, encoding="utf-8") as file:
        data = file.read()
    chars = sorted(set(data))
    number = {c: i for i, c in enumerate(chars)}
    init(len(chars), hidden_size, np.random.default_rng())
    memory = [np.zeros_like(w) for w in (Wxh, Whh, Why, bh, by)]
    smooth, at, hprev = np.log(len(chars)), 0, np.zeros((hidden_size, 1))
    for n in range(steps):
        if at + seq_length + 1 >= len(data):
            at, hprev = 0, np.zeros((hidden_size, 1))
        window = [number[c] for c in data[at : at + seq_length + 1]]
        loss, *grads, hprev = lossFun(window[:-1], window[1:], hprev)
        smooth = 0.99 * smooth + 0.01 * loss / seq_length
        if n % 100 == 0:
            print(f"step {n}: {smooth:.3f} nats per character")
        for weight, grad, mem in zip((Wxh, Whh, Why, bh, by), grads, memory, strict=True):
            # Clipping belongs to the update: inside lossFun it would no longer be the gradient.
            grad = np.clip(grad, -5, 5)
            mem += grad * grad
            weight -= learning_rate * grad / np.sqrt(mem + 1e-8)
        at += seq_length


if __name__ == "__main__":
    train(sys.argv[1])
