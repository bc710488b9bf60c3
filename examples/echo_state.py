"""An echo state network: a fixed sparse reservoir, its readout by least squares.

The reservoir is scaled to a spectral radius just below one (λ ≲ 1), driven by a quasi-periodic
signal, and asked for the signal a few steps ahead. The readout is the least-squares solution, so
the gradient of the squared error must vanish there: the gradient that the derived kernel gives is
the check (Ghojogh & Ghodsi 2023, echo state networks).

    python -m examples.echo_state
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from gradcheck_rnn import api

AHEAD, WARM_UP = 5, 100


def reservoir(units: int, radius: float, density: float, rng: np.random.Generator) -> np.ndarray:
    """A sparse random matrix scaled to the given spectral radius."""
    weights = rng.standard_normal((units, units)) * (rng.random((units, units)) < density)
    return weights * (radius / np.abs(np.linalg.eigvals(weights)).max())


def signal(steps: int) -> np.ndarray:
    """Two incommensurate frequencies, (steps,)."""
    t = np.arange(steps)
    return 0.5 * np.sin(0.2 * t) + 0.5 * np.sin(0.311 * t + 1.0)


@dataclass
class Fit:
    """A trained readout, its error relative to the signal, and the gradient left there."""

    error: float
    gradient: float
    scale: float


def kernel() -> ModuleType:
    """The generated kernel of the reservoir with squared error ½Σ(target − y)²."""
    module = ModuleType("echo_state_kernel")
    exec(api.generate("echo_state", "numpy", loss="squared_error"), vars(module))
    return module


def fit(units: int = 60, steps: int = 600, seed: int = 0) -> Fit:
    """Drive the reservoir, solve for the readout, and look at the gradient at the solution."""
    rng = np.random.default_rng(seed)
    wave = signal(steps + AHEAD)
    x, target = wave[:steps, None, None], wave[AHEAD:, None, None]
    parameters = {
        "W": reservoir(units, 0.95, 0.1, rng),
        "U": rng.standard_normal((units, 1)),
        "b_i": 0.1 * rng.standard_normal(units),
        "V": np.zeros((1, units)),
        "b_y": np.zeros(1),
    }
    net = kernel()
    run = {"x": x, "target": target, "h0": np.zeros((1, units))}
    warm, _ = net.forward(parameters, {n: a[:WARM_UP] if n != "h0" else a for n, a in run.items()})
    rest = {"x": x[WARM_UP:], "target": target[WARM_UP:], "h0": warm["h_final"].copy()}

    states = net.forward(parameters, rest)[0]["h"][:, 0, :]
    design = np.column_stack([states, np.ones(len(states))])
    solution, *_ = np.linalg.lstsq(design, rest["target"][:, 0, :], rcond=None)
    _, before = net.loss_and_gradients(parameters, rest)
    parameters["V"], parameters["b_y"] = solution[:-1].T, solution[-1]
    outputs, _ = net.forward(parameters, rest)
    _, after = net.loss_and_gradients(parameters, rest)
    error = np.linalg.norm(outputs["y"] - rest["target"]) / np.linalg.norm(rest["target"])
    return Fit(
        float(error),
        max(float(np.abs(after[n]).max()) for n in ("V", "b_y")),
        max(float(np.abs(before[n]).max()) for n in ("V", "b_y")),
    )


def main() -> None:
    found = fit()
    print(f"readout by least squares: relative error {found.error:.1e} {AHEAD} steps ahead")
    print(
        f"gradient of the squared error there {found.gradient:.1e}; with a zero readout it was "
        f"{found.scale:.1e}"
    )


if __name__ == "__main__":
    main()
