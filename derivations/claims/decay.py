"""Claims about decay, bounds and limits, each computed directly: numbers and NumPy, no derivation.

A function returns the verdict and the numbers that show it. A universal claim that fails once is
wrong; one that holds at everything tried, and is a known inequality, is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Verdict = tuple[str, str]


def _largest(a: Array) -> float:
    """The largest singular value."""
    return float(np.linalg.norm(a, 2))


def _slope(f: Callable[[Array], Array], x: Array, eps: float = 1e-6) -> Array:
    """The Jacobian of f at x by central differences."""
    columns = [(f(x + eps * e) - f(x - eps * e)) / (2 * eps) for e in np.eye(len(x))]
    return np.stack(columns, axis=1)


def _unrolled(w: Array, x: Array, h: Array, steps: int) -> Array:
    for t in range(steps):
        h = np.tanh(w @ h + x[t])
    return h


def singular_value_above_one() -> Verdict:
    """σ_max(W) > 1 makes gradients blow up."""
    w = np.array([[0.5, 3.0], [0.0, 0.5]])
    powers = [_largest(np.linalg.matrix_power(w, k)) for k in (1, 10, 50)]
    numbers = (
        f"linear network, W = [[0.5, 3], [0, 0.5]]: σ_max(W) = {powers[0]:.3f} > 1, yet "
        f"‖W¹⁰‖ = {powers[1]:.3g} and ‖W⁵⁰‖ = {powers[2]:.3g}: the spectral radius, 0.5, decides"
    )
    return ("wrong" if powers[0] > 1 and powers[2] < 1e-10 else "right"), numbers


def singular_value_below_one() -> Verdict:
    """σ_max(W) < 1 makes gradients vanish."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(200):
        w = rng.standard_normal((4, 4))
        w *= 0.9 / _largest(w)
        h, product = rng.standard_normal(4), np.eye(4)
        for v in 0.01 * rng.standard_normal((30, 4)):
            h = np.tanh(w @ h + v)
            product = (1 - h**2)[:, None] * w @ product
        worst = max(worst, _largest(product) / 0.9**30)
    numbers = f"200 networks with σ_max(W) = 0.9: ‖∂h_30/∂h_0‖ is at most {worst:.3f} · 0.9³⁰"
    return ("right" if worst <= 1 else "wrong"), numbers


def tanh_slopes_vanish() -> Verdict:
    """Because tanh′ < 1, gradients go to zero as the sequence gets longer."""
    w, steps = 2.0 * np.eye(2), 20
    # The orbit stays at 0, where tanh′ is as near to 1 as one likes; 1e-9 keeps it off 1.
    slope = _slope(lambda h: _unrolled(w, np.zeros((steps, 2)), h, steps), np.full(2, 1e-9), 1e-9)
    size = _largest(slope)
    numbers = f"W = 2I, inputs 0, h_0 = 1e-9: tanh′ < 1 at every step, ‖∂h_20/∂h_0‖ = {size:.4g}"
    return ("wrong" if size > 1e3 else "right"), numbers


def eigenvalue_above_one() -> Verdict:
    """A largest eigenvalue above 1 makes gradients explode."""
    w, h, product = 1.5 * np.eye(2), np.zeros(2), np.eye(2)
    for _ in range(50):
        h = np.tanh(w @ h + 2.0)
        product = (1 - h**2)[:, None] * w @ product
    size = _largest(product)
    numbers = f"W = 1.5 I with inputs 2: ‖∂h_50/∂h_0‖ = {size:.3g}: tanh′ is far below 1"
    return ("wrong" if size < 1e-3 else "right"), numbers


def eigenvalue_below_one() -> Verdict:
    """A largest eigenvalue (in magnitude) below 1 makes gradients vanish, for symmetric W."""
    rng = np.random.default_rng(1)
    worst = 0.0
    for _ in range(200):
        a = rng.standard_normal((4, 4))
        w = (a + a.T) / 2
        w *= 0.9 / np.max(np.abs(np.linalg.eigvalsh(w)))
        x = rng.standard_normal((30, 4))
        slope = _slope(lambda h, w=w, x=x: _unrolled(w, x, h, 30), rng.standard_normal(4))
        worst = max(worst, _largest(slope))
    numbers = (
        f"200 symmetric W with max |λ| = 0.9: ‖∂h_30/∂h_0‖ is at most {worst:.3g} < 0.9³⁰ = 0.0424"
    )
    return ("right" if worst < 0.9**30 else "wrong"), numbers


def eigenvalue_below_one_any_matrix() -> Verdict:
    """A largest eigenvalue below 1 makes gradients shrink, for any W."""
    w = np.array([[0.9, 50.0], [0.0, 0.9]])
    sizes = [_largest(np.linalg.matrix_power(w, k)) for k in (1, 10, 20, 400)]
    numbers = (
        f"linear network, W = [[0.9, 50], [0, 0.9]], both eigenvalues 0.9: ‖W^k‖ = {sizes[0]:.3g}, "
        f"{sizes[1]:.3g}, {sizes[2]:.3g} at k = 1, 10, 20, and {sizes[3]:.2g} at 400"
    )
    holds = sizes[3] < 1e-10
    return ("right in a convention" if holds else "wrong"), numbers + ": true in the limit alone"


def eigenvector_change() -> Verdict:
    """A change ε along an eigenvector of W is λ^t ε after t steps of h = tanh(W h + U x + b)."""
    lam, eps = 1.5, 1e-6
    w, v = np.diag([lam, 0.3]), np.array([1.0, 0.0])
    x = np.full((10, 2), 0.5)
    change = (_unrolled(w, x, eps * v, 10) - _unrolled(w, x, -eps * v, 10))[0] / 2
    numbers = (
        f"λ = 1.5, ε = 1e-6, t = 10, inputs 0.5: the change is {change:.3g}, "
        f"λ^t ε = {lam**10 * eps:.3g}"
    )
    return ("wrong" if abs(change - lam**10 * eps) > 0.1 * lam**10 * eps else "right"), numbers


def adding_identity() -> Verdict:
    """W + I in place of W raises the largest eigenvalue and so prevents vanishing."""
    w, steps = -0.9 * np.eye(2), 20
    x = np.zeros((steps, 2))
    plain, shifted = (
        _largest(_slope(lambda h, m=m: _unrolled(m, x, h, steps), np.zeros(2)))
        for m in (w, w + np.eye(2))
    )
    numbers = f"W = −0.9 I, inputs 0: ‖∂h_20/∂h_0‖ = {plain:.3g} with W, {shifted:.3g} with W + I"
    return ("wrong" if shifted < plain else "right"), numbers


def leaky_units() -> Verdict:
    """The larger τ, the easier the gradient propagates through leaky units."""
    rng = np.random.default_rng(2)
    w = 0.5 * np.linalg.qr(rng.standard_normal((4, 4)))[0]
    x = rng.standard_normal((40, 4))
    sizes = []
    for tau in (1.0, 2.0, 5.0, 20.0, 100.0):

        def run(h: Array, tau: float = tau) -> Array:
            for t in range(40):
                h = (1 - 1 / tau) * h + np.tanh(w @ h + x[t]) / tau
            return h

        sizes.append(_largest(_slope(run, np.zeros(4))))
    shown = ", ".join(f"{s:.2g}" for s in sizes)
    numbers = f"‖∂h_40/∂h_0‖ for τ = 1, 2, 5, 20, 100: {shown}"
    return ("right" if sizes == sorted(sizes) else "wrong"), numbers


def updating_states() -> Verdict:
    """Gradient descent updates the states h_t beside the parameters."""
    rng = np.random.default_rng(3)
    w, x = rng.standard_normal((3, 3)), rng.standard_normal((4, 3))

    def states() -> list[Array]:
        h, out = np.zeros(3), []
        for t in range(4):
            h = np.tanh(w @ h + x[t])
            out.append(h)
        return out

    before = states()
    moved = [h - 0.1 * rng.standard_normal(3) for h in before]
    after = states()
    lost = max(float(np.max(np.abs(a - b))) for a, b in zip(after, before, strict=True))
    gap = max(float(np.max(np.abs(m - a))) for m, a in zip(moved, after, strict=True))
    numbers = (
        f"states moved by up to {gap:.3g} are computed anew by the next forward pass: it differs "
        f"from the one before the update by {lost:.0f}; a state is no free variable"
    )
    return ("wrong" if lost == 0 < gap else "right"), numbers


def small_slopes_two_terms() -> Verdict:
    """For f′ ≪ 1, ∂h_t/∂w is nearly f′_t (h_{t−1} + w f′_{t−1} h_{t−2}) (one unit)."""
    w, x, eps = 0.8, np.full(8, 4.0), 1e-6

    def states(w: float) -> list[float]:
        h = [0.3]
        for v in x:
            h.append(1 / (1 + np.exp(-(w * h[-1] + v))))
        return h

    up, down, h = states(w + eps), states(w - eps), states(w)
    exact = (up[-1] - down[-1]) / (2 * eps)
    slopes = [v * (1 - v) for v in h]
    short = slopes[-1] * (h[-2] + w * slopes[-2] * h[-3])
    error = abs(short / exact - 1)
    return ("right" if error < 1e-3 else "wrong"), (
        f"one sigmoid unit, f′ ≈ {slopes[-1]:.3f}: two terms give {short:.6g}, "
        f"differences {exact:.6g}, "
        f"apart by {error:.1e}"
    )


def slopes_between_zero_and_one() -> Verdict:
    """0 ≤ f′ ≤ 1 for the activations in use."""
    x = np.linspace(-20, 20, 200001)
    tanh, sigmoid = 1 - np.tanh(x) ** 2, 1 / (1 + np.exp(-x)) * (1 - 1 / (1 + np.exp(-x)))
    holds = min(tanh.min(), sigmoid.min()) >= 0 and max(tanh.max(), sigmoid.max()) <= 1
    numbers = (
        f"tanh′ in [{tanh.min():.1g}, {tanh.max():.3g}], "
        f"σ′ in [{sigmoid.min():.1g}, {sigmoid.max():.3g}]"
    )
    return ("right" if holds else "wrong"), numbers


def identity_recurrence() -> Verdict:
    """f(x) = x and W = I give dh_t/dW = h_{t−1} + … + h_1."""
    rng, eps, steps = np.random.default_rng(4), 1e-6, 5
    x = rng.standard_normal(steps)

    def last(w: float) -> tuple[float, float]:
        h, total = 0.0, 0.0
        for v in x:
            total += h
            h = w * h + v
        return h, total

    slope = (last(1 + eps)[0] - last(1 - eps)[0]) / (2 * eps)
    total = last(1.0)[1]
    wide = _wide_identity(rng, steps)
    numbers = (
        f"one unit, h_0 = 0: dh_5/dw = {slope:.6g}, h_4 + … + h_1 = {total:.6g}; "
        f"two units: {wide}, "
        "it is (h_4 + … + h_1)ᵀ ⊗ I"
    )
    return ("right for one unit" if abs(slope - total) < 1e-6 else "wrong"), numbers


def _wide_identity(rng: np.random.Generator, steps: int) -> str:
    x = rng.standard_normal((steps, 2))

    def last(flat: Array) -> Array:
        h = np.zeros(2)
        for v in x:
            h = flat.reshape(2, 2, order="F") @ h + v
        return h

    slope = _slope(last, np.eye(2).reshape(-1, order="F"))
    return f"∂h_5/∂vec W is 2 × 4 with first row {np.round(slope[0], 3).tolist()}"


def open_cell_keeps() -> Verdict:
    """With f = 1 and i = 0 the cell state of an LSTM is kept over many steps."""
    c = start = np.array([0.7, -1.3])
    for _ in range(1000):
        c = 1.0 * c + 0.0 * np.tanh(c)
    return (
        "right" if np.array_equal(c, start) else "wrong"
    ), f"c_0 = {start.tolist()}, c_1000 = {c.tolist()}"


def product_of_norms() -> Verdict:
    """‖∏ J_t‖ ≤ ∏ ‖J_t‖."""
    rng = np.random.default_rng(5)
    worst = 0.0
    for _ in range(500):
        parts = rng.standard_normal((6, 4, 4))
        whole = np.linalg.multi_dot(list(parts))
        worst = max(worst, _largest(whole) / float(np.prod([_largest(p) for p in parts])))
    return (
        "right" if worst <= 1 else "wrong"
    ), f"500 products of six: the ratio is at most {worst:.3f}"


def common_eigendirection() -> Verdict:
    """Jacobians with eigenvalue ρ > 1 along one common direction let the gradient grow as ρ^T."""
    rng = np.random.default_rng(6)
    v = np.array([1.0, 0.0, 0.0])
    product = np.eye(3)
    for _ in range(20):
        j = rng.standard_normal((3, 3)) * 0.3
        j[:, 0] = 1.2 * v
        product = j @ product
    size = _largest(product)
    return ("right" if size >= 1.2**20 * (1 - 1e-12) else "wrong"), (
        f"20 Jacobians with eigenvalue 1.2 along one vector: ‖product‖ = {size:.4g} "
        f"≥ 1.2²⁰ = {1.2**20:.4g}"
    )


def accumulated_outer_products() -> Verdict:
    """∂E/∂W = Σ δ_t h_{t−1}ᵀ misses that h_{t−1} depends on W."""
    rng, eps = np.random.default_rng(7), 1e-6
    w, x, g = rng.standard_normal((3, 3)), rng.standard_normal((5, 3)), rng.standard_normal((5, 3))

    def states(w: Array) -> list[Array]:
        out = [np.full(3, 0.2)]
        for v in x:
            out.append(np.tanh(w @ out[-1] + v))
        return out

    def loss(w: Array) -> float:
        return float(sum(a @ b for a, b in zip(g, states(w)[1:], strict=True)))

    h = states(w)
    total, carried = np.zeros((3, 3)), np.zeros(3)
    for t in range(5, 0, -1):
        delta = (g[t - 1] + carried) * (1 - h[t] ** 2)
        total += np.outer(delta, h[t - 1])
        carried = w.T @ delta
    measured = np.zeros((3, 3))
    for index in np.ndindex(3, 3):
        e = np.zeros((3, 3))
        e[index] = eps
        measured[index] = (loss(w + e) - loss(w - e)) / (2 * eps)
    gap = float(np.max(np.abs(total - measured)))
    return ("wrong" if gap < 1e-7 else "right"), (
        f"Σ δ_t h_{{t−1}}ᵀ and differences of the loss agree within {gap:.1e}: "
        "δ carries the dependence"
    )


def clipping_keeps_direction() -> Verdict:
    """ĝ ← (threshold / ‖ĝ‖) ĝ where ‖ĝ‖ ≥ threshold has norm threshold and the old direction."""
    g = np.array([3.0, -4.0, 12.0])
    clipped = 5.0 / np.linalg.norm(g) * g
    cosine = float(clipped @ g / np.linalg.norm(clipped) / np.linalg.norm(g))
    norm = float(np.linalg.norm(clipped))
    return ("right" if abs(norm - 5) < 1e-12 and abs(cosine - 1) < 1e-12 else "wrong"), (
        f"‖g‖ = 13, threshold 5: clipped norm {norm:.12g}, cosine with g {cosine:.12g}"
    )


def forget_gate_one_is_identity() -> Verdict:
    """Where f ≈ 1, ∂c_t/∂c_{t−1} of an LSTM is nearly the identity."""
    rng = np.random.default_rng(8)
    w = {k: 2.0 * rng.standard_normal((3, 3)) for k in "ifoc"}

    def sigmoid(v: Array) -> Array:
        return 1 / (1 + np.exp(-v))

    def step(c: Array) -> Array:
        h = sigmoid(np.full(3, 2.0)) * np.tanh(c)
        a = {k: m @ h for k, m in w.items()}
        return sigmoid(a["f"] + 8) * c + sigmoid(a["i"]) * np.tanh(a["c"])

    start = np.array([0.3, -0.2, 0.1])
    slope = _slope(step, start)
    direct = sigmoid(w["f"] @ (sigmoid(np.full(3, 2.0)) * np.tanh(start)) + 8)
    whole, path = float(np.max(np.abs(slope - np.eye(3)))), float(np.max(np.abs(direct - 1)))
    return ("right in a convention" if path < 0.05 else "wrong"), (
        f"f ≥ {direct.min():.3f}: the direct path diag(f) is off the identity by {path:.1e}, "
        f"∂c_t/∂c_{{t−1}} with the paths through h_{{t−1}} by {whole:.2f}"
    )
