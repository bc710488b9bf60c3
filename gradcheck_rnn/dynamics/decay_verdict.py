"""The verdict in words: vanishing, exploding or near critical, from which lag on, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .causes import Cause
from .lyapunov import Lyapunov
from .products import Decay

__all__ = ["DecayVerdict", "error_of", "judge", "power_of_ten"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class DecayVerdict:
    """What is said about a model.

    Attributes
    ----------
    kind : {"vanishing", "exploding", "near critical", "gone"}
        ``gone``: the gradient is exactly zero beyond some lag.
    rate, error : float
        λ₁ and its standard error, nats a step.
    lag : int or None
        From this lag on the gradient stays beyond `threshold`; None if it never does so.
    threshold : float
        The factor that counts as vanished (or, inverted, as exploded).
    causes : tuple of Cause
        Those that matter here, largest effect first.
    sentences : tuple of str
        The verdict, to be read; what causes it is apart, in `because`.
    """

    kind: str
    rate: float
    error: float
    lag: int | None
    threshold: float
    causes: tuple[Cause, ...]
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([*self.sentences, *(f"Cause: {text}" for text in self.because)])

    @property
    def because(self) -> list[str]:
        """A sentence for each cause."""
        return [_why(cause) for cause in self.causes]


def power_of_ten(log: float) -> str:
    """e^log as a power of ten that a person reads: ``1``, ``0.032``, ``10^-47``."""
    if math.isinf(log):
        return "0" if log < 0 else "∞"
    ten = log / math.log(10)
    if -3 <= ten <= 3:
        return f"{10**ten:.2g}" if ten < 2 else f"{10**ten:.0f}"
    return f"10^{ten:.0f}"


def error_of(drawn: bool, spread: bool) -> str:
    """What the error of an exponent is an error of, in a sentence.

    Parameters
    ----------
    drawn : bool
        Whether weights were drawn.
    spread : bool
        Whether other draws are shown too.
    """
    text = "The error is that of a mean over time, along this one trajectory"
    if not drawn:
        return f"{text} with these weights."
    more = "" if spread else "; --draws N shows how far other draws of weights differ"
    return f"{text} and for this one draw of weights{more}."


def judge(
    exponents: Lyapunov,
    decay: Decay,
    causes: list[Cause],
    *,
    threshold: float = 1e-3,
    resting: tuple[str, ...] = (),
    states: tuple[str, ...] = (),
) -> DecayVerdict:
    """Put the measurements into words.

    Near critical means that λ₁ cannot be told from 0 by three of its standard errors, or that over
    the whole trajectory it changes a gradient by less than a factor of ten.
    """
    rate, error = exponents.leading, float(exponents.errors[0])
    window = int(decay.lags[-1])
    if math.isinf(rate):
        kind = "gone"
    elif abs(rate) <= 3.0 * error or abs(rate) * window < math.log(10):
        kind = "near critical"
    else:
        kind = "vanishing" if rate < 0 else "exploding"
    lag = _beyond(decay, math.log(threshold), kind)
    relevant = _relevant(causes, rate, kind)
    sentences = [_first(kind, rate, error, exponents), *_rest(resting, states, rate)]
    sentences += _second(kind, lag, threshold, decay)
    sentences += _by_head(decay)
    hump = int(np.argmax(decay.norm))
    ten = math.log(10)
    risen = decay.norm[hump] > ten and decay.norm[hump] - decay.norm[-1] > ten
    if kind != "exploding" and risen:
        sentences.append(
            f"Before it decays it grows, up to a factor {power_of_ten(float(decay.norm[hump]))} at "
            f"lag {int(decay.lags[hump])}: the Jacobians are far from normal."
        )
    return DecayVerdict(kind, rate, error, lag, threshold, tuple(relevant), tuple(sentences))


def _beyond(decay: Decay, limit: float, kind: str) -> int | None:
    """The first lag shown from which on the norm stays below the limit (or above −limit)."""
    if kind == "exploding":
        inside = np.flatnonzero(decay.norm < -limit)
    else:
        inside = np.flatnonzero(decay.norm > limit)
    first = int(inside[-1]) + 1 if len(inside) else 0
    return int(decay.lags[first]) if first < len(decay.lags) else None


def _relevant(causes: list[Cause], rate: float, kind: str) -> list[Cause]:
    if kind == "near critical":
        return []
    sign = 1.0 if kind == "exploding" else -1.0
    # A tenth of the rate: less than that would not change what is seen.
    return [c for c in causes if c.effect * sign > 0.1 * min(abs(rate), 1e6)]


def _first(kind: str, rate: float, error: float, exponents: Lyapunov) -> str:
    if kind == "gone":
        return "The gradient is exactly zero beyond some lag: every path is cut (λ₁ = −∞)."
    measured = f"λ₁ = {rate:+.4f} ± {error:.4f} a step"
    if kind == "near critical":
        return f"Near critical: {measured}, which over this window cannot be told from holding."
    horizon = exponents.horizons[0]
    verb = "Vanishing" if kind == "vanishing" else "Exploding"
    change = "shrinks" if kind == "vanishing" else "grows"
    return f"{verb}: {measured}; the gradient {change} by a factor e every {horizon:.3g} steps."


def _rest(resting: tuple[str, ...], states: tuple[str, ...], rate: float) -> list[str]:
    """That the trajectory, or a part of its state, stays where it starts."""
    if not resting:
        return []
    if len(resting) < len(states):
        names = ", ".join(resting)
        part = f"Of the state, {names} never leaves its start; what enters through it is that of a"
        return [f"{part} fixed point (--start drawn starts elsewhere)."]
    text = (
        "The trajectory never leaves its start, a fixed point: the exponents are those of the "
        "Jacobian there, not of a trajectory that moves"
    )
    if rate > 0:
        text += "; the fixed point is unstable, so that any other start leads away from it"
    return [f"{text} (--start drawn starts elsewhere)."]


def _second(kind: str, lag: int | None, threshold: float, decay: Decay) -> list[str]:
    end = f"at lag {int(decay.lags[-1])} it is {power_of_ten(float(decay.norm[-1]))}"
    if kind == "near critical":
        return [f"The norm of ∂s_T/∂s_t {end.replace('it is', 'is')}."]
    word = "above" if kind == "exploding" else "below"
    limit = power_of_ten(-math.log(threshold) if kind == "exploding" else math.log(threshold))
    if lag is None:
        return [
            f"Within {int(decay.lags[-1])} steps ∂s_T/∂s_t does not stay {word} {limit}; {end}."
        ]
    return [f"From lag {lag} on ‖∂s_T/∂s_t‖ stays {word} {limit}; {end}."]


def _by_head(decay: Decay) -> list[str]:
    """How far apart the heads of a state are."""
    out = []
    for name, curves in decay.heads.items():
        last = curves[-1]
        slow, fast = int(np.argmax(last)), int(np.argmin(last))
        out.append(
            f"Of the {len(last)} heads of {name}, head {slow + 1} keeps most and head {fast + 1} "
            f"least: at lag {int(decay.lags[-1])} ‖∂{name}_T/∂{name}_t‖ within them is "
            f"{power_of_ten(float(last[slow]))} and {power_of_ten(float(last[fast]))}."
        )
    return out


def _why(cause: Cause) -> str:
    without = "0" if cause.rate == 0 else f"{cause.rate:+.4f}"
    share = "" if math.isinf(cause.effect) else f", which accounts for {cause.effect:+.4f}"
    return f"{cause.name}{share}; without it λ₁ would be {without} ({cause.detail})."
