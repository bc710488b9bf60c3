"""Compare a derivation with the independent oracle, entry by entry, at a random point.

The one module of the proof that sees the derivation. Its forward values and its adjoint program in
matrix and in Kronecker form are evaluated on the oracle's field elements; every entry of every
parameter, input and initial state has to be equal. Its tangent program is run along one random
direction through all of them: as polynomials in the direction, too, both sides are equal at a
random one only if they are at all, those of single entries among them. Where they are not, the
entries show which differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from ...language.cell import Cell
from ...language.loops import at_most, count_of
from ...language.network import Network
from .certificate import certify
from .certified import Certificate
from .field import FieldPoint, Redraw
from .oracle import OracleResult, differentiate, mapped
from .result import Claims, ClaimsAlong, DirectionalClaims, Group, ProofResult, place
from .small_dims import Setting, draw

if TYPE_CHECKING:
    from ..program import Derivation

__all__ = [
    "Claims",
    "adjoint_claims",
    "as_derivation",
    "certify_exactly",
    "check",
    "compare",
    "prove",
    "tangent_claims",
]

_ATTEMPTS = 8
#: Substeps of a step of a proof at most: a first, one between and a last one, as of steps.
SUBSTEPS = 3


def prove(
    target: Derivation | Cell | Network,
    *,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    lengths: Mapping[str, int] | None = None,
    exact: bool = False,
    seconds: float = 60.0,
) -> ProofResult:
    """Prove that the programs of a derivation are the derivative of the unrolled network.

    Parameters
    ----------
    target : Derivation, Cell or Network
        A cell or a network is derived first.
    seed : int
        Of the random point of the prime field.
    sizes, lengths : mapping, optional
        Dim → size, time axis → steps. By default d, p, q = 2, 3, 4 and T = 3; smaller settings
        miss faults.
    exact : bool
        Also certify all that can be decided without any error (see `certify_exactly`).
    seconds : float
        Time limit of the exact certificate.

    Returns
    -------
    ProofResult
        `proved`, the entries compared and the bound on the probability of error.

    Raises
    ------
    UsageError
        A denominator of the definition is zero at every point.
    """
    derivation = as_derivation(target)

    def claims(setting: Setting) -> ClaimsAlong:
        yield from adjoint_claims(derivation, setting)
        yield _along(derivation, setting)

    with at_most(SUBSTEPS):
        result = check(derivation.network, claims, seed=seed, sizes=sizes, lengths=lengths)
        result = _with_assumptions(result, derivation, seed=seed, sizes=sizes, lengths=lengths)
    if not exact:
        return result
    certificate = certify_exactly(
        derivation, rtrl=True, sizes=sizes, lengths=lengths, seconds=seconds
    )
    return replace(result, certificate=certificate)


def _with_assumptions(
    result: ProofResult,
    derivation: Derivation,
    *,
    seed: int,
    sizes: Mapping[str, int] | None,
    lengths: Mapping[str, int] | None,
) -> ProofResult:
    """The result with the adjoint program as pages show it, where data are assumed to sum to one.

    It is compared at another random point, one that satisfies what is assumed.
    """
    from ..assumptions import assumed_terms
    from ..edits import Edits
    from ..evaluate import bptt, forward

    terms, names = assumed_terms(derivation)
    if not terms:
        return result
    form = f"BPTT as shown, units of {' and of '.join(names)} summing to one"

    def claims(setting: Setting) -> Claims:
        run = forward(derivation, setting.values, setting.sizes, setting.lengths)
        yield form, "gradient", bptt(run, setting.cotangents, edits=Edits(terms={**terms}))

    shown = check(
        derivation.network, claims, seed=seed, sizes=sizes, lengths=lengths, assumed=names
    )
    return replace(
        result,
        groups=result.groups + shown.groups,
        redraws=result.redraws + shown.redraws,
        collisions=result.collisions + shown.collisions,
        seconds=result.seconds + shown.seconds,
    )


def certify_exactly(
    target: Derivation | Cell | Network,
    *,
    rtrl: bool = False,
    sizes: Mapping[str, int] | None = None,
    lengths: Mapping[str, int] | None = None,
    seconds: float = 60.0,
) -> Certificate:
    """Certify the programs of a derivation against the scalar oracle without any error.

    Forward values, BPTT in matrix form and in Kronecker form, and, if asked for, RTRL.

    Parameters
    ----------
    target : Derivation, Cell or Network
        A cell or a network is derived first.
    rtrl : bool
        Also the tangent program, which takes longer, as there is a tangent for every parameter.
    sizes, lengths : mapping, optional
        Dim → size, time axis → steps; by default those of `prove`: d, p, q = 2, 3, 4 and T = 3.
    seconds : float
        What is not decided by then is reported as undecided.

    Returns
    -------
    Certificate
        For every entry: certified, different (which is proved too) or undecided, and why.

    Raises
    ------
    UsageError
        A denominator of the definition is zero at every point.
    """
    began = time.perf_counter()
    derivation = as_derivation(target)
    network = derivation.network

    def left() -> float:
        return max(0.0, seconds - (time.perf_counter() - began))

    with at_most(SUBSTEPS):
        out = certify(
            network,
            lambda setting: adjoint_claims(derivation, setting),
            sizes=sizes,
            lengths=lengths,
            seconds=left(),
        )
        if rtrl:
            tangents = certify(
                network,
                lambda setting: tangent_claims(derivation, setting),
                mode="tangent",
                sizes=sizes,
                lengths=lengths,
                seconds=left(),
            )
            out = out.with_groups_of(tangents)
    return out


def as_derivation(target: Derivation | Cell | Network) -> Derivation:
    """A cell or a network is derived; a derivation is left as it is."""
    from ..derive import derive
    from ..program import Derivation

    return target if isinstance(target, Derivation) else derive(target)


def adjoint_claims(derivation: Derivation, setting: Setting) -> Claims:
    """Forward values and the adjoint program in both forms."""
    from ..evaluate import bptt, forward

    run = forward(derivation, setting.values, setting.sizes, setting.lengths)
    made = {label: run.output(label) for label in derivation.network.outputs}
    for program in derivation.scans:
        for name in (*program.scan.outputs, *(s.name for s in program.scan.states)):
            ref = program.scan.value(name)
            held = {t: run.outward(ref, a) for t, a in run.series[name].items()}
            times = [t for t in sorted(run.times(program)) if t == math.ceil(t)]
            made[name] = (
                held[0] if program.scan.axis is None else np.stack([held[t] for t in times])
            )
    yield "forward values", "value", made
    yield "BPTT, matrix form", "gradient", bptt(run, setting.cotangents)
    yield "BPTT, Kronecker form", "gradient", bptt(run, setting.cotangents, form="kronecker")


def tangent_claims(derivation: Derivation, setting: Setting) -> Claims:
    """The tangent program."""
    from ..evaluate import forward
    from ..tangents import rtrl

    run = forward(derivation, setting.values, setting.sizes, setting.lengths)
    yield "RTRL", "gradient", rtrl(run, setting.cotangents)


def _along(derivation: Derivation, setting: Setting) -> tuple[str, str, DirectionalClaims]:
    """The tangent program along a direction, and by entries where that is asked for."""
    from ..evaluate import forward
    from ..tangents import rtrl, rtrl_along

    run = forward(derivation, setting.values, setting.sizes, setting.lengths)
    given = setting.cotangents
    made = DirectionalClaims(lambda v: rtrl_along(run, given, v), lambda: rtrl(run, given))
    return "RTRL", "gradient", made


def check(
    network: Network,
    claims: Callable[[Setting], ClaimsAlong],
    *,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    lengths: Mapping[str, int] | None = None,
    assumed: Collection[str] = (),
) -> ProofResult:
    """Compare any claims about a network with the oracle.

    Parameters
    ----------
    claims : callable
        Called with the `Setting`; gives (form, kind, name → object array) where kind is
        ``"gradient"`` (all parameters, inputs and initial states) or ``"value"`` (outputs and
        states).
    assumed : collection of str
        Names whose units sum to one at the point.

    Raises
    ------
    UsageError
        A denominator is zero at every point tried.
    """
    began = time.perf_counter()
    substeps = max((count_of(scan.substeps) for scan in network.scans), default=1)
    shown = {"substeps": substeps} if substeps > 1 else {}
    for redraws in range(_ATTEMPTS):
        point = FieldPoint(seed + redraws * 2**32)
        try:
            setting = draw(network, point, sizes=sizes, lengths=lengths, assumed=assumed)
            oracle = differentiate(setting)
            groups = [g for c in claims(setting) for g in compare(oracle, *c)]
        except Redraw:
            continue
        return ProofResult(
            network.name,
            dict(setting.sizes),
            {**setting.lengths, **shown},
            seed,
            redraws,
            tuple(groups),
            point.collision_degree,
            oracle.operations,
            oracle.frozen,
            time.perf_counter() - began,
        )
    raise UsageError(
        f"network {network.name!r}: a denominator is zero at {_ATTEMPTS} random points; the "
        "definition divides by something that is always zero"
    )


def compare(
    oracle: OracleResult, form: str, kind: str, claimed: Mapping[str, Any] | DirectionalClaims
) -> list[Group]:
    """Compare claims with the oracle, name by name.

    Parameters
    ----------
    form : str
        What made the claims, for the table.
    kind : {"gradient", "value"}
        Gradients have to be complete; of forward values those given are compared.
    claimed : mapping
        Name → array in columns, shaped like the oracle's; field elements or exact numbers. Or
        gradients `DirectionalClaims` a direction.

    Raises
    ------
    UsageError
        A name that the network does not have.
    """
    if isinstance(claimed, DirectionalClaims):
        return _compare_along(oracle, form, claimed)
    gradient = kind == "gradient"
    expected = oracle.gradients if gradient else {**oracle.everything, **oracle.outputs}
    for stranger in (n for n in claimed if n not in expected):
        raise UsageError(
            f"network {oracle.setting.network.name!r} has no {kind} {stranger!r} to prove"
        )
    names = expected if gradient else [n for n in expected if n in claimed]
    prefix = "d" if gradient else ""
    return [_compare(oracle.point, form, prefix + n, expected[n], claimed.get(n)) for n in names]


def _compare_along(oracle: OracleResult, form: str, claimed: DirectionalClaims) -> list[Group]:
    """All entries at once along a random direction; one by one where that shows a difference."""
    point = oracle.point
    directions = {n: mapped(lambda _: point.random(), g) for n, g in oracle.gradients.items()}
    difference = point.coerce(claimed.along(directions))
    for name, gradient in oracle.gradients.items():
        for g, v in zip(gradient.flat, directions[name].flat, strict=True):
            difference = difference - g * v
    degree = point.degree_of(difference)
    if not difference.value:
        return [Group(form, f"d{n}", g.size, degree, ()) for n, g in oracle.gradients.items()]
    groups = compare(oracle, form, "gradient", claimed.entries())
    if any(g.mismatches for g in groups):
        return groups
    return [*groups, Group(form, "all", 1, degree, ("along a random direction",))]


def _compare(point: FieldPoint, form: str, what: str, expected: Any, given: Any) -> Group:
    if given is None:
        return Group(form, what, expected.size, 0, (f"{what} is missing",))
    given = np.asarray(given, dtype=object)
    if given.shape != expected.shape:
        shapes = f"{what} has shape {given.shape} for {expected.shape}"
        return Group(form, what, expected.size, 0, (shapes,))
    degree, wrong = 0, []
    for index in np.ndindex(expected.shape):
        difference = expected[index] - point.coerce(given[index])
        degree = max(degree, point.degree_of(difference))
        if difference.value:
            wrong.append(what + place(index, expected.shape))
    return Group(form, what, expected.size, degree, tuple(wrong))
