"""Everything about where the gradient of one recurrence goes, in one result object."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from ..errors import GradcheckError, UsageError
from .bounds import Bounds, bounds
from .causes import causes
from .decay_verdict import DecayVerdict, error_of, judge
from .draws import Spread
from .expansion import Carousel, Expansion, carousel, expansion
from .lyapunov import BATCHES, Lyapunov, lyapunov
from .products import Decay, decay
from .remedies import Remedy, remedies
from .spectrum import (
    JacobianSpectra,
    MatrixSpectrum,
    jacobian_spectra,
    matrix_spectrum,
    perturbation,
    recurrent_names,
    recurrent_spectra,
)
from .system import Model
from .threads import few_threads
from .trajectory import resting as at_rest

__all__ = ["Analysis", "analyse", "as_plain", "check_steps"]

Array = np.ndarray[Any, Any]
#: Steps and terms for what costs p³ a step without telling more when it is longer.
PROBE, TERMS = 1000, 200


@dataclass(frozen=True)
class Analysis:
    """The gradient decay of one recurrence, along one trajectory.

    Attributes
    ----------
    name : str
        What it is called in comparisons.
    system : str
        The scans whose joint state is followed.
    size : int
        Size of the joint state.
    steps : int
        Length of the trajectory T.
    spectra : list of MatrixSpectrum
        Of the recurrent matrices.
    perturbation : dict or None
        The λᵗε picture (see `spectrum.perturbation`); None without a square matrix of one state.
    expansions : list of Expansion
        One for each recurrent matrix that is read once a step.
    resting : tuple of str
        States that never leave their start, a fixed point.
    draws : Spread or None
        λ₁ over several draws of weights, where they were asked for.
    """

    name: str
    system: str
    size: int
    steps: int
    spectra: list[MatrixSpectrum]
    jacobians: JacobianSpectra
    perturbation: dict[str, Array] | None
    decay: Decay
    bounds: Bounds
    exponents: Lyapunov
    expansions: list[Expansion]
    carousels: list[Carousel]
    verdict: DecayVerdict
    remedies: list[Remedy]
    resting: tuple[str, ...] = ()
    draws: Spread | None = None

    def explained(self, draws: Spread | None, drawn: bool) -> Analysis:
        """The analysis with what its error is an error of, and the spread over draws.

        Parameters
        ----------
        draws : Spread, optional
            λ₁ for several draws.
        drawn : bool
            Whether weights were drawn, not read from a file.
        """
        said = [] if draws is None else [draws.sentence]
        if math.isfinite(self.verdict.rate):
            said.insert(0, error_of(drawn, draws is not None))
        first, *more = self.verdict.sentences
        verdict = replace(self.verdict, sentences=(first, *said, *more))
        return replace(self, verdict=verdict, draws=draws)


def analyse(
    model: Model,
    steps: int,
    *,
    index: int = 0,
    name: str = "",
    burn_in: int | None = None,
    lag: int | None = None,
    with_remedies: bool = True,
    seed: int = 0,
    xp: Any = np,
    progress: Callable[[str, int, int], None] | None = None,
) -> Analysis:
    """Follow the gradient of one recurrence of a model.

    Parameters
    ----------
    steps : int
        T; at least 60.
    index : int
        Which of ``model.systems()``.
    lag : int, optional
        Where remedies are compared; min(T/2, 50) when left out.
    xp : module
        NumPy or CuPy, for the products and the QR.
    progress : callable, optional
        Called with the name of the stage, the steps done in it, and how many there are (0 where
        it is not known).

    Raises
    ------
    UsageError
        The inputs are shorter than `steps`, or the trajectory diverges.
    """
    check_steps(model, steps, burn_in)

    def tell(stage: str) -> Callable[[int], None] | None:
        return None if progress is None else lambda done: progress(stage, done, steps)

    system = model.systems(steps=steps)[index]
    with few_threads(system.n):
        exponents = lyapunov(system, steps, burn_in=burn_in, xp=xp, progress=tell("exponents"))
        falling = decay(system, steps, seed=seed, xp=xp, progress=tell("products"))
        probe = min(steps, PROBE)
        if progress is not None:
            progress("causes", 0, 0)
        short = system if probe == steps else model.systems(steps=probe)[index]
        rate = exponents.leading if probe == steps else lyapunov(short, probe, leading=1).leading
        suspects = causes(short, probe, rate)
        resting = at_rest(short, probe)
        if progress is not None:
            progress("remedies", 0, 0)
        at = min(steps // 2, 50) if lag is None else lag
        return Analysis(
            name or model.network.name,
            system.name,
            system.n,
            steps,
            recurrent_spectra(model, system),
            jacobian_spectra(short, probe),
            _epsilon(model, system, probe),
            falling,
            bounds(system, steps, falling.lags),
            exponents,
            _expansions(system, steps),
            carousel(system, steps, falling.lags),
            judge(exponents, falling, suspects, resting=resting, states=system.states),
            remedies(model, index, probe, min(at, probe), seed=seed) if with_remedies else [],
            resting,
        )


def check_steps(model: Model, steps: int, burn_in: int | None) -> None:
    """Say before any work that a trajectory is too short, or longer than the input.

    Raises
    ------
    UsageError
        It is.
    """
    if steps < 60:
        where = f"the input has {steps} steps" if model.longest == steps else f"T is {steps}"
        raise UsageError(f"{where}: too few to see a decay; give at least 60")
    if model.longest is not None and model.longest < steps:
        raise UsageError(
            f"the input has {model.longest} steps, {steps} were asked for; use --steps "
            f"{model.longest} or a longer input"
        )
    if burn_in is not None and steps - burn_in < 2 * BATCHES:
        raise UsageError(
            f"a burn-in of {burn_in} steps leaves fewer than {2 * BATCHES} of {steps}; give a "
            "shorter burn-in or more steps"
        )


def _epsilon(model: Model, system: Any, steps: int) -> dict[str, Array] | None:
    for name in recurrent_names(system):
        matrix = model.values[name]
        if matrix.shape == (system.slots[0].stop,) * 2:
            matrix_spectrum(matrix, name)
            return perturbation(system, matrix, min(steps, 200))
    return None


def _expansions(system: Any, steps: int) -> list[Expansion]:
    out = []
    for name in recurrent_names(system):
        try:
            out.append(expansion(system, name, steps, most=TERMS))
        except GradcheckError:
            continue  # read twice a step, or too large: said by its absence
    return out


def as_plain(value: Any) -> Any:
    """Dataclasses and arrays as dicts and lists of JSON numbers; ±∞ and NaN become None."""
    if is_dataclass(value) and not isinstance(value, type):
        out = {f.name: as_plain(getattr(value, f.name)) for f in fields(value)}
        for extra in (
            "radius",
            "norm",
            "dimension",
            "entropy_rate",
            "horizons",
            "two_term_error",
            "mean",
            "deviation",
        ):
            if isinstance(getattr(type(value), extra, None), property):
                out[extra] = as_plain(getattr(value, extra))
        if isinstance(value, Expansion):
            out["terms_for_99_percent"] = value.carrying()
        return out
    if isinstance(value, dict):
        return {"→".join(k[::-1]) if isinstance(k, tuple) else k: as_plain(v)
                for k, v in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return [as_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "c":
            return {"real": as_plain(value.real), "imag": as_plain(value.imag)}
        return [as_plain(v) for v in value.tolist()]
    if isinstance(value, np.generic):
        return as_plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
