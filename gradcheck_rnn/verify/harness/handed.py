"""Adjoints and saved values that a backward pass hands over, in the definition's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DimensionError, UsageError
from ...language.network import Network
from ...language.running import to_columns
from ...language.scans import Ref, Scan
from ...language.tracing import Equation
from .arrays import to_numpy
from .layout import Fitted, axes_of, order_of

__all__ = ["Handed", "adjoint_of", "handed_over"]

Array = NDArray[Any]
Handed = dict[str, dict[int, Array]]
_PREFIXES = ("delta_", "grad_", "d_", "g_", "δ", "∂", "d")


def _equations(network: Network) -> dict[str, tuple[Scan, Equation]]:
    return {e.name: (s, e) for s in network.scans for e in s.equations}


def adjoint_of(network: Network, name: str, declared: Mapping[str, str]) -> str | None:
    """The equations whose adjoint has this name, as text of a layout; None if there are none."""
    if name in declared:
        return declared[name]
    known = _equations(network)
    for prefix in _PREFIXES:
        rest = name.removeprefix(prefix)
        if rest != name and rest in known:
            return rest
    return None


def handed_over(
    fitted: Fitted, steps: Mapping[str, int], sizes: Mapping[str, int],
    recorded: Mapping[str, Mapping[int | None, Any]],
) -> tuple[Handed, Handed]:  # fmt: skip
    """Adjoints, and saved values: equation → {t from 1, or 0: array}, as float64.

    Arrays are (n, B), of matrices (n, m, B), of what every head has (H, n, B) and (H, n, m, B).

    Raises
    ------
    UsageError, DimensionError
        A name that no equation has, a step that is not there, a shape that does not fit.
    """
    network = fitted.network
    known = _equations(network)
    bars: Handed = {}
    saved: Handed = {}
    for name, held in recorded.items():
        text = adjoint_of(network, name, fitted.layout.adjoints)
        if text is None and name not in known:
            raise UsageError(
                f"{name!r} was recorded, which {network.name!r} does not know; adjoints are d + "
                f"the name of an equation ({', '.join(known)}), or are declared in the layout, as "
                'adjoints={"da": "a_i a_f: T B n"}'
            )
        into = saved if text is None else bars
        words, _, axes = (s.strip() for s in (text or name).partition(":"))
        for t, array in held.items():
            _place(into, name, words.split(), axes, t, to_numpy(array), known, steps, sizes, fitted)
    return bars, saved


def _place(
    into: Handed, name: str, words: list[str], axes: str, t: int | None, array: Array,
    known: Mapping[str, tuple[Scan, Equation]], steps: Mapping[str, int],
    sizes: Mapping[str, int], fitted: Fitted,
) -> None:  # fmt: skip
    for word in words:
        if word.lstrip("-") not in known:
            raise UsageError(
                f"layout: adjoints {name!r} names {word!r}; the equations are {', '.join(known)}"
            )
    scan = known[words[0].lstrip("-")][0]
    if any(s.headed or not s.column for s in (known[w.lstrip("-")][1].shape for w in words)):
        if len(words) > 1:
            raise UsageError(
                f"layout: adjoints {name!r} names {', '.join(words)}; matrices and values of "
                "heads are handed over in an array each"
            )
        _check_step(name, t, scan, steps)
        _place_stack(into, name, words[0], axes, t, array, known, steps, sizes, _batch(fitted))
        return
    sizes = {**sizes, **steps}
    rows = [known[w.lstrip("-")][1].shape.rows.size(sizes) for w in words]
    order = axes.split() or ["T", "B", "n"]
    if scan.axis is None or t is not None:
        order = [a for a in order if a not in ("T", scan.axis)]
    order = ["T" if a == scan.axis else a for a in order]
    count = 0 if scan.axis is None else steps[scan.axis]
    batch = _batch(fitted)
    want = tuple({"T": count, "B": batch, "n": sum(rows)}.get(a, 1) for a in order)
    if array.dtype.kind not in "fiu" or int(np.prod(want)) != array.size or (
        array.shape != want
        and tuple(k for k in array.shape if k != 1) != tuple(k for k in want if k != 1)
    ):  # fmt: skip
        raise DimensionError(
            f"the adjoint {name!r} has shape {array.shape}, by the layout {want} "
            f"({' '.join(order)}); other orders are declared in the layout, as "
            f'adjoints={{{name!r}: "{" ".join(words)}: T n B"}}'
        )
    _check_step(name, t, scan, steps)
    full = array.astype(np.float64).reshape(want)
    letters = [a for a in order if a != "1"]
    full = full.reshape([k for k, a in zip(want, order, strict=True) if a != "1"])
    target = [a for a in ("T", "n", "B") if a in letters]
    full = full.transpose([letters.index(a) for a in target])
    if "B" not in letters:
        full = full[..., None]
    if "n" not in letters:
        full = full[..., None, :]
    parts = full if "T" in letters else full[None]
    first = 0 if scan.axis is None else 1 if t is None else t + 1
    for k, part in enumerate(parts):
        top = 0
        for word, height in zip(words, rows, strict=True):
            block = part[top : top + height]
            line = into.setdefault(word.lstrip("-"), {})
            line[first + k] = -block if word.startswith("-") else block
            top += height


def _check_step(name: str, t: int | None, scan: Scan, steps: Mapping[str, int]) -> None:
    if t is not None and scan.axis is not None and t >= steps[scan.axis]:
        raise UsageError(f"record: {name!r} at t={t}; the steps are 0 to {steps[scan.axis] - 1}")


def _batch(fitted: Fitted) -> int:
    """The number of sequences, by an input that has them."""
    for name, ref in fitted.network.inputs.items():
        if name in fitted.of_definition and ref.shape.batch:
            return fitted.of_definition[name][-1 - len(ref.shape.axes)]
    return 1


def _place_stack(
    into: Handed, name: str, word: str, axes: str, t: int | None, array: Array,
    known: Mapping[str, tuple[Scan, Equation]], steps: Mapping[str, int],
    sizes: Mapping[str, int], batch: int,
) -> None:  # fmt: skip
    """An adjoint of a matrix for every sequence, or of what every head has."""
    scan, equation = known[word.lstrip("-")]
    moves = scan.axis is not None and t is None
    ref = Ref(name, "sequence", equation.shape, axis=scan.axis if moves else None)
    have = axes_of(ref)
    own = (steps[scan.axis],) * moves + (batch,) if scan.axis else (batch,)
    own += tuple(d.size({**sizes, **steps}) for d in equation.shape.axes)
    order = [a for a in axes.split() if moves or a not in ("T", scan.axis)]
    full, index = order_of(name, " ".join(order), own, have, ref)
    plain = (tuple(k for k in shape if k != 1) for shape in (array.shape, full))
    if array.dtype.kind not in "fiu" or len(set(plain)) > 1:
        shown, whole = " ".join(order) or " ".join(have), f"{word}: {' '.join(have)}"
        raise DimensionError(
            f"the adjoint {name!r} has shape {array.shape}, by the layout {full} ({shown}); other "
            f"orders are declared in the layout, as adjoints={{{name!r}: {whole!r}}}"
        )
    columns = to_columns(ref, array.astype(np.float64).reshape(-1)[index])
    line, first = into.setdefault(word.lstrip("-"), {}), 0 if scan.axis is None else (t or 0) + 1
    for k, part in enumerate(columns if moves else columns[None]):
        line[first + k] = -part if word.startswith("-") else part
