"""Vector-Jacobian products of step functions with caches: every output's cotangent alone.

The gradient that flows in through the last states is the one most often lost, and a check of one
scalar loss never asks for it. Here each output gets a random cotangent while the others get zeros,
so that each output has its own rows in the report.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_function
from ..errors import DimensionError, UsageError
from .blackbox import check_gradient, parse_seed
from .lags import wrong_lags
from .oracle.directions import content_seed, draw_direction, fresh_seed
from .outcome import Report
from .trees import Tree, flatten, given_gradients
from .verdict import Finding

__all__ = ["check_vjp"]

Array = NDArray[Any]


class _Step:
    """A forward and backward pair, called with copies and inspected for caches it destroys."""

    def __init__(
        self, forward: Callable[..., Any], backward: Callable[..., Any], tree: Tree, cached: bool
    ) -> None:
        self.forward, self.backward, self.tree, self.cached = forward, backward, tree, cached
        self.findings: list[Finding] = []
        self.watched: set[int] = set()

    def run(self, leaves: Sequence[Array]) -> tuple[Any, Any]:
        """Outputs and cache; without a cache, the inputs stand in for it."""
        inputs = self.tree.build(leaves)
        if isinstance(inputs, Mapping):
            result = self.forward(**inputs)
        else:
            result = self.forward(*self.tree.arguments(leaves))
        if not self.cached:
            return result, inputs
        if not isinstance(result, tuple) or len(result) != 2:
            raise UsageError(
                "forward must return (outputs, cache); pass cache=False if it returns outputs only"
            )
        return result

    def paired(self, outs: Tree, k: int, weight: Array) -> Callable[..., Any]:
        """The scalar <weight, output k> as a function of named inputs."""

        def loss(named: dict[str, Array]) -> Any:
            result, _ = self.run([named[name] for name in self.tree.names])
            leaves = flatten(result)
            if len(leaves) != len(outs.leaves) or np.shape(leaves[k]) != weight.shape:
                raise DimensionError("forward returns outputs of other shapes at other inputs")
            return np.sum(weight * leaves[k])

        return loss

    def pulled(self, outs: Tree, k: int, weight: Array) -> Callable[..., Any]:
        """The backward function for the cotangent of output k alone, as a dict by input name."""

        def gradient(named: dict[str, Array]) -> dict[str, Any]:
            cotangents = [np.zeros_like(x) for x in outs.leaves]
            cotangents[k] = weight.copy()
            _, cache = self.run([named[name] for name in self.tree.names])
            raw = self._backward(outs.build(cotangents), cache, k)
            return {self.tree.names[i]: g for i, g in given_gradients(raw, self.tree).items()}

        return gradient

    def _backward(self, cotangents: Any, cache: Any, output: int) -> Any:
        """Call backward; the first time for each output, see what it does to its arguments."""
        if output in self.watched:
            return self.backward(cotangents, cache)
        self.watched.add(output)
        before, kept = copy.deepcopy(cache), copy.deepcopy(cotangents)
        result = self.backward(cotangents, cache)
        if not _same(kept, cotangents):
            self._find("mutated-cotangent", "backward changes its cotangents in place", True)
        if not _same(before, cache):
            self._find("mutated-cache", "backward changes the cache; a second call would differ")
        return result

    def _find(self, kind: str, message: str, fatal: bool = False) -> None:
        if all(finding.kind != kind for finding in self.findings):
            self.findings.append(Finding(kind, message, fatal))


def _same(a: Any, b: Any) -> bool:
    """Whether two nested structures hold equal arrays; objects that cannot tell count as equal."""
    if isinstance(a, Mapping):
        return all(_same(a[k], b[k]) for k in a if k in b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        equal_nan = a.dtype.kind in "fc"
        return np.array_equal(a, b, equal_nan=equal_nan)
    return True


def check_vjp(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Any,
    *,
    cache: bool = True,
    outputs: Iterable[str] | None = None,
    time_axis: int | Mapping[str, int] | None = None,
    mode: str = "auto",
    seed: int | str | None = None,
    budget: int | str | None = None,
    select: str | Iterable[str] | None = None,
    unit: float = 0.0,
    title: str = "vjp check",
) -> Report:
    """Check a backward function: for each output alone, its cotangent times the Jacobian.

    Parameters
    ----------
    forward
        ``forward(*inputs)`` for a tuple or list, ``forward(**inputs)`` for a dict; returns
        ``(outputs, cache)``, outputs being an array, or a tuple, list or dict of them.
    backward
        ``backward(cotangents, cache)`` returns the gradients of the inputs, in their structure;
        cotangents come in the structure of the outputs, zeros where not probed.
    inputs
        Arrays; integer arrays are passed on as data and need no gradient.
    cache
        False: forward returns outputs only, and backward is called with the inputs instead.
    outputs
        Names of the outputs to probe, as they appear in the report; all by default.
    time_axis
        The axis along which outputs are stacked over time (those with the most axes: a last state
        has one less than its sequence), or a dict by output name: besides the whole, every step
        then gets a cotangent of its own, so that a fault at one step or beyond one lag is neither
        lost in a sum nor left to be searched for.
    mode, seed, budget, select, unit
        As in `check_gradient`; the budget is shared out over the outputs.

    Returns
    -------
    Report
        Rows are named ``output -> input``, and ``output at step 3 -> input`` (from 1 on).

    Raises
    ------
    UsageError, DimensionError
        As `check_gradient`, and for outputs that are not floating-point arrays.
    """
    check_function(forward, "forward")
    check_function(backward, "backward")
    tree = Tree.of(inputs, "inputs")
    step = _Step(forward, backward, tree, cache)
    first, _ = step.run([x.copy() for x in tree.leaves])
    outs = Tree.of(first, "outputs")
    if seed is None:
        used = content_seed([*tree.leaves, *outs.leaves])
    else:
        used = fresh_seed() if isinstance(seed, str) and seed == "fresh" else parse_seed(seed)
    report = Report(title, [], seed=used, mode=mode)
    probes = list(_cotangents(outs, _probed(outs, outputs), time_axis, used))
    seen: set[str] = set()
    for name, k, weight in probes:
        part = check_gradient(
            step.paired(outs, k, weight),
            step.pulled(outs, k, weight),
            dict(zip(tree.names, tree.leaves, strict=True)),
            mode=mode,
            seed=used,
            budget=_share(budget, len(probes)),
            select=select,
            unit=max(unit, tree.unit),
        )
        report.rows += [replace(row, name=f"{name} -> {row.name}") for row in part.rows]
        report.evaluations += part.evaluations
        report.gradients += part.gradients
        report.mode, report.deterministic = part.mode, report.deterministic and part.deterministic
        report.noise = part.noise if np.isnan(report.noise) else max(report.noise, part.noise)
        for finding in part.findings:
            if finding.kind not in ("mutated-input", "dtype", "alias"):
                finding = replace(finding, message=f"output '{name}': {finding.message}")
            if finding.message not in seen:
                seen.add(finding.message)
                report.findings.append(finding)
    report.findings += step.findings
    if isinstance(time_axis, int):
        report.findings += wrong_lags(report.rows, tree, time_axis)
    return report


def _probed(outs: Tree, wanted: Iterable[str] | None) -> list[int]:
    if wanted is None:
        return outs.real
    known = {outs.names[i]: i for i in outs.real}
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in known:
            raise UsageError(f"there is no output '{name}'; outputs are {', '.join(known)}")
    return [known[name] for name in names]


def _cotangents(
    outs: Tree, probed: list[int], time_axis: int | Mapping[str, int] | None, seed: int
) -> Iterator[tuple[str, int, Array]]:
    """Each probe's name, output and cotangent: the whole output, then its steps one by one."""
    if isinstance(time_axis, Mapping):
        for name in time_axis:
            if name not in outs.names:
                raise UsageError(f"time_axis names '{name}'; outputs are {', '.join(outs.names)}")
    most = max((outs.leaves[k].ndim for k in probed), default=0)
    for k in probed:
        name, leaf = outs.names[k], outs.leaves[k]
        weight = draw_direction(leaf.shape, seed, f"cotangent of {name}")
        weight = (weight * np.sqrt(weight.size)).astype(leaf.dtype)
        yield name, k, weight
        if isinstance(time_axis, Mapping):
            axis = time_axis.get(name)
        else:
            axis = time_axis if leaf.ndim == most else None
        if axis is None:
            continue
        if not -leaf.ndim <= axis < leaf.ndim:
            raise UsageError(f"time_axis {axis}: the output '{name}' has {leaf.ndim} axes")
        steps = leaf.shape[axis]
        for t in range(steps) if steps > 1 else ():
            alone = np.zeros_like(weight)
            at = (slice(None),) * (axis % leaf.ndim) + (t,)
            alone[at] = weight[at]
            yield f"{name} at step {t + 1}", k, alone


def _share(budget: int | str | None, parts: int) -> int | str | None:
    if budget is None:
        return None
    if isinstance(budget, str):
        try:
            return f"{float(budget.strip().removesuffix('s')) / parts}s"
        except ValueError:
            return budget  # refused, with its name, by check_gradient
    return max(budget // parts, 1) if budget > 0 else budget
