"""Checks at many shapes: a factory makes the inputs of each, one report says where it fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import UsageError
from .declared_sizes import listed_sizes, size_combinations
from .guard import call
from .outcome import Report
from .verdict import Finding, Row, Verdict
from .zeros import settle_beside

__all__ = ["MISSED", "Shapes", "at_shapes", "is_factory", "largest", "one_shape", "share_budget"]

MISSED = "could-have-missed"
#: What the documentation calls numbers of steps and of sequences.
STEPS, SEQUENCES = "T", "B"
MAKER = "the function that makes the inputs"
_ORDER = {Verdict.FAIL: 2, Verdict.UNDECIDED: 1, Verdict.PASS: 0}
Shapes = Mapping[str, int | Iterable[int]]


def is_factory(inputs: Any, shapes: Shapes | None, who: str) -> bool:
    """Whether inputs are made by a function of sizes.

    Raises
    ------
    UsageError
        Shapes without a factory.
    """
    made = inspect.isfunction(inputs) or inspect.ismethod(inputs) or (
        callable(inputs) and not hasattr(inputs, "shape")
    )  # fmt: skip
    if shapes is not None and not made:
        raise UsageError(
            f"{who}: shapes need inputs that can be made for each: give a function of the sizes, "
            "inputs=lambda T, B: …"
        )
    return bool(made)


def at_shapes(
    factory: Callable[..., Any], shapes: Shapes | None, check: Callable[[Any, int], Report]
) -> Report:
    """Run a check at every listed size, and put the reports together.

    Parameters
    ----------
    factory
        Called with sizes by name; makes the inputs.
    shapes
        Name → one size, several, or a `range` (see `listed_sizes`); every argument of the factory
        without a default must be named.
    check
        Of the inputs, and the number of shapes, among which a budget is shared.

    Raises
    ------
    UsageError
        Sizes that the factory does not take, or that it needs and are not given.
    """
    sizes = _sizes(factory, shapes or {})
    combinations = size_combinations(sizes)
    reports, made = [], []
    for at in combinations:
        label = ", ".join(f"{n} = {size}" for n, size in at.items())
        try:
            inputs = call(MAKER, factory, **at)
            made.append(_content(inputs))
            reports.append((label, check(inputs, len(combinations))))
        except Exception as error:
            if label:
                error.add_note(f"at {label}")
            raise
    merged = _together(reports, sizes)
    merged.findings += _not_reached(sizes, combinations, made)
    return merged


def _content(inputs: Any) -> tuple[Any, Any]:
    """What sizes can change: shapes and whole numbers; and all values."""
    parts = inputs
    if isinstance(inputs, Mapping):
        parts = [x for item in inputs.items() for x in item]
    if isinstance(parts, list | tuple):
        held = [_content(x) for x in parts]
        return tuple(plain for plain, _ in held), tuple(whole for _, whole in held)
    shape = getattr(inputs, "shape", None)
    if shape is None:
        plain = inputs if isinstance(inputs, int | str | None) else type(inputs)
        return plain, inputs if isinstance(inputs, float) else plain
    try:
        values = np.asarray(inputs, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        return object(), object()  # what cannot be read may depend on anything
    counted = bool(np.all(np.isfinite(values)) and np.all(values == np.round(values)))
    whole = tuple(shape), values.tobytes()
    return (whole if counted else whole[0]), whole


def _not_reached(
    sizes: Mapping[str, list[int]],
    combinations: Sequence[Mapping[str, int]],
    made: Sequence[tuple[Any, Any]],
) -> list[Finding]:
    """Sizes that were declared and that the inputs do not have: they leave a verdict undecided."""
    out = []
    for name, options in sizes.items():
        groups: dict[Any, list[tuple[Any, Any]]] = {}
        for at, content in zip(combinations, made, strict=True):
            groups.setdefault(tuple((n, at[n]) for n in at if n != name), []).append(content)
        # a seed changes values alone, and rightly; what is called T or B is meant to be a size
        which = 0 if name in (STEPS, SEQUENCES) else 1
        if len(options) > 1 and all(
            g[which] == same[0][which] for same in groups.values() for g in same
        ):
            text = (
                f"{MAKER} makes the same shapes for {name} = {options[0]} and {options[-1]}: it "
                f"does not use {name}, and these sizes were not run"
            )
            out.append(Finding("not-run", text, undecided=True))
    if max(sizes.get(STEPS, [2]), default=2) < 2:
        text = (
            f"{STEPS} = {sizes[STEPS][-1]} is the longest that was run: no recurrent step, no "
            f"gradient is carried; declare {STEPS} ≥ 2"
        )
        out.append(Finding("not-run", text, undecided=True))
    if sizes.get(SEQUENCES) == [1]:
        text = "only B = 1 was run, as declared: sums over the batch were not seen"
        out.append(Finding("one-sequence", text))
    return out


def largest(inputs: Any, shapes: Shapes | None) -> Any:
    """Inputs at the largest listed sizes, or the given ones if there is no factory."""
    if not is_factory(inputs, shapes, "parameters"):
        return inputs
    sizes = _sizes(inputs, shapes or {})
    return call(MAKER, inputs, **{name: options[-1] for name, options in sizes.items()})


def _sizes(factory: Callable[..., Any], shapes: Shapes) -> dict[str, list[int]]:
    if not isinstance(shapes, Mapping):
        raise UsageError(f'shapes is {shapes!r}; give sizes by name, shapes={{"T": [1, 2, 5]}}')
    parameters = inspect.signature(factory).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = [p.name for p in named]
    for name in shapes:
        if name not in known and not takes_any:
            raise UsageError(
                f"shapes name '{name}', which {MAKER} does not take; "
                f"it takes {', '.join(known) or 'nothing'}"
            )
    for p in named:
        if p.name not in shapes and p.default is p.empty:
            raise UsageError(
                f"{MAKER} takes '{p.name}'; say in shapes which sizes "
                f'it has: shapes={{"{p.name}": [1, 2, 5]}}'
            )
    found = {}
    for name, spec in shapes.items():
        try:
            found[name] = listed_sizes(spec)
        except UsageError as error:
            raise UsageError(f"shapes of '{name}': {error}") from None
    return found


def _together(reports: Sequence[tuple[str, Report]], sizes: Mapping[str, list[int]]) -> Report:
    """One report: rows by name, each as where it is worst, and the shapes at which it fails.

    The resolution is the coarsest of all shapes.
    """
    first = reports[0][1]
    table: dict[str, list[tuple[str, Row]]] = {}
    findings: dict[Finding, list[str]] = {}
    for label, report in reports:
        for row in report.rows:
            table.setdefault(row.name, []).append((label, row))
        for finding in report.findings:
            findings.setdefault(finding, []).append(label)
    for at_all in table.values():
        # what is no stair at one size is none where a row of zeros is all there is (one class)
        settle_beside([row for _, row in at_all])
    merged = replace(
        first,
        rows=[_worst(found) for found in table.values()],
        findings=[_where(f, at, len(reports)) for f, at in findings.items()],
        evaluations=sum(r.evaluations for _, r in reports),
        gradients=sum(r.gradients for _, r in reports),
        noise=max((r.noise for _, r in reports if r.noise == r.noise), default=first.noise),
        deterministic=all(r.deterministic for _, r in reports),
    )
    ran = "; ".join(f"{n} in {options}" for n, options in sizes.items())
    text = f"shapes run: {ran or 'one'}; a fault that needs others was not looked for"
    merged.findings = [f for f in merged.findings if f.kind != MISSED]
    merged.findings.append(Finding(MISSED, text))
    return merged


def _worst(found: Sequence[tuple[str, Row]]) -> Row:
    label, row = max(found, key=lambda f: (_ORDER[f[1].verdict], f[1].ratio))
    if not label:
        return row
    bad = [where for where, r in found if r.verdict is row.verdict]
    reasons = row.reasons
    if row.verdict is not Verdict.PASS:
        shown = "; ".join(bad[:4]) + (f" and {len(bad) - 4} more" if len(bad) > 4 else "")
        word = "wrong" if row.verdict is Verdict.FAIL else "undecided"
        where = f"{word} at {len(bad)} of {len(found)} shapes ({shown})"
        reasons = (Finding("shapes", where), *reasons)
    coarse = max((r for _, r in found), key=lambda r: r.resolution)
    return replace(
        row,
        worst=f"{row.worst} ({label})",
        reasons=reasons,
        resolution=coarse.resolution,
        missed=coarse.missed,
    )


def _where(finding: Finding, labels: Sequence[str], count: int) -> Finding:
    if len(labels) == count or not labels[0]:
        return finding
    more = f" and {len(labels) - 1} more shapes" if len(labels) > 1 else ""
    return replace(finding, message=f"at {labels[0]}{more}: {finding.message}")


def share_budget(budget: int | str | None, parts: int) -> int | str | None:
    """The budget of one of several checks, in its own unit."""
    if budget is None:
        return None
    if isinstance(budget, str):
        try:
            return f"{float(budget.strip().removesuffix('s')) / parts}s"
        except ValueError:
            return budget  # refused, with its name, by check_gradient
    if not isinstance(budget, int | float) or not budget > 0:
        return budget
    return max(budget // parts, 1)


def one_shape(shapes: Iterable[tuple[int, ...]]) -> Finding:
    """What the check of one point cannot see."""
    known = list(dict.fromkeys(str(s) for s in shapes))
    listed = ", ".join(known[:4]) + (", …" if len(known) > 4 else "")
    return Finding(
        MISSED,
        f"one point of one shape was run ({listed}); a fault that needs another length, batch or "
        "block was not looked for: give a function of sizes and shapes= to run several",
    )
