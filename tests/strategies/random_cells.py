"""Random definitions as Python source text, written the way a user writes a cell.

``random_cell(Seeded(17))`` always gives the same text, so that a failure is replayed by its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

from gradcheck_rnn.language.dims import ONE, Dim, Shape

from .choices import Choices
from .expressions import BIT, BOX, PARAM, D, Expressions, P, Q, Value
from .ranges import Range

__all__ = ["CellText", "dims_text", "emit_file", "random_cell"]

_LAGS = ((1,), (1, 2), (2,), (1, 3), (3,))
_KINDS = ("inputs", "states", "data", "params", "fixed")


@dataclass
class CellText:
    """One definition: the text of its function, and what a network needs to know about it.

    ``declared`` maps kind → {name: Shape}; ``bounds`` gives the range of every output.
    """

    name: str
    text: str
    declared: dict[str, dict[str, Shape]]
    lags: dict[str, tuple[int, ...]]
    outputs: dict[str, Shape]
    bounds: dict[str, Range]
    imports: set[str]
    functions: dict[str, str] = field(default_factory=dict)


def emit_file(title: str, cells: list[CellText], tail: str = "", imports: str = "") -> str:
    """The text of a file that defines the cells."""
    names = sorted({n for c in cells for n in c.imports if n != "np"} | {"cell"})
    functions = {k: v for c in cells for k, v in c.functions.items()}
    if functions:
        names.append("elementwise")
    lines = [f'"""{title}"""', ""]
    if any("np" in c.imports for c in cells):
        lines += ["import numpy as np", ""]
    lines.append(f"from gradcheck_rnn.language import {', '.join(sorted(names))}")
    if imports:
        lines.append(imports)
    lines.append("")
    lines += [f'{name} = elementwise("{name}", "{text}")' for name, text in functions.items()]
    for c in cells:
        lines += ["", "", c.text]
    return "\n".join(lines) + (f"\n\n\n{tail}" if tail else "") + "\n"


class _Definition(Expressions):
    """One cell under construction: declarations, locals, and which of them are still unread."""

    def __init__(self, choices: Choices, name: str, size: int, states: bool) -> None:
        super().__init__(choices)
        self.name, self.size = name, size
        self.declared: dict[str, dict[str, Shape]] = {k: {} for k in _KINDS}
        self.lags: dict[str, tuple[int, ...]] = {}
        self.known: dict[str, list[Value]] = {}
        self.unread: dict[str, Value] = {}
        self.lines: list[str] = []
        self.at_least: dict[str, float] = {}
        if states:
            self._declare_states()

    def _declare_states(self) -> None:
        for n in ("h", "c", "s")[: self.choices.weighted([(5, 1), (3, 2), (1, 3)])]:
            rows = self.choices.weighted([(8, P), (2, Q), (1, P + Q), (1, P * 2), (1, ONE)])
            self.declared["states"][n] = Shape(rows, ONE, True)
            lags = self.choices.pick(_LAGS) if self.choices.chance(25) else (1,)
            if lags != (1,):
                self.lags[n] = lags
            texts = [n] if lags == (1,) else [f"{n}[{k}]" for k in lags]
            self.known[n] = [Value(t, rows, ONE, True, BOX) for t in texts]

    # -- leaves -----------------------------------------------------------------------------------

    def _new(self, kind: str, stem: str, rows: Dim, cols: Dim, bounds: Range) -> Value:
        number = 1 + sum(n.startswith(stem) for g in self.declared.values() for n in g)
        name = f"{stem}{number}"
        batch = kind in ("inputs", "data")
        self.declared[kind][name] = Shape(rows, cols, batch)
        value = Value(name, rows, cols, batch, bounds)
        self.known[name] = [value]
        return value

    def _fitting(self, rows: Dim, cols: Dim, batch: bool) -> list[tuple[str, Value]]:
        return [
            (name, v)
            for name, values in reversed(self.known.items())
            for v in values
            if (v.rows, v.cols) == (rows, cols) and (batch or not v.batch)
        ]

    def _read(self, name: str, value: Value) -> Value:
        self.unread.pop(name, None)
        return value

    def leaf(self, rows: Dim, cols: Dim, batch: bool) -> Value:
        found = self._fitting(rows, cols, batch)
        if batch:  # a parameter is no vector of the sequence; prefer what moves
            found = [f for f in found if f[1].batch] or found
        if found and not self.choices.chance(35):
            return self._read(*self.choices.pick(found))
        if cols != ONE:
            kind = self.choices.weighted([(8, "params"), (1, "fixed")])
            return self._new(kind, "W" if kind == "params" else "F", rows, cols, PARAM)
        if batch and not self.choices.chance(20):
            kind = self.choices.weighted([(8, "inputs"), (1, "data")])
            return self._new(kind, "x" if kind == "inputs" else "r", rows, ONE, BOX)
        kind = self.choices.weighted([(8, "params"), (1, "fixed")])
        stem = ("b" if rows != ONE else "g") if kind == "params" else "k"
        if self.choices.chance(10):
            value = self._new(kind, "tau", rows, ONE, Range(1.0, 2.0))
            self.at_least[value.text] = 1.0
            return value
        return self._new(kind, stem, rows, ONE, PARAM)

    def bits(self, rows: Dim, cols: Dim) -> Value:
        wanted = rows if self.choices.chance(50) else ONE
        for name, values in self.known.items():
            if name.startswith("m") and values[0].rows == wanted:
                return values[0]
        return self._new("data", "m", wanted, ONE, BIT)

    def wider(self, rows: Dim, batch: bool) -> Value | None:
        found = []
        for name, values in self.known.items():
            for v in values:
                rest = v.rows - rows
                fits = v.cols == ONE and (batch or not v.batch) and rest != Dim()
                if fits and rest.const >= 0 and all(c > 0 for _, c in rest.terms):
                    found.append((name, v))
        return self._read(*self.choices.pick(found)) if found else None

    def moving(self, rows: Dim) -> Value:
        """A leaf that differs from sequence to sequence."""
        found = [f for f in self._fitting(rows, ONE, True) if f[1].batch]
        if found:
            return self._read(*self.choices.pick(found[:4]))
        return self._new("inputs", "x", rows, ONE, BOX)

    # -- statements -------------------------------------------------------------------------------

    def assign(self, name: str, value: Value) -> Value:
        text = value.text
        if self.choices.chance(4):
            self.imports.add("name")
            text = f'name({text}, "{name}_named")'
        self.lines.append(f"{name} = {text}")
        kept = Value(name, value.rows, value.cols, value.batch, value.range)
        self.known[name] = [kept]
        self.unread[name] = kept
        return kept

    def add_local(self, number: int) -> None:
        rows, cols = self.choices.weighted(
            [(18, (P, ONE)), (6, (Q, ONE)), (4, (D, ONE)), (8, (ONE, ONE)), (5, (P + Q, ONE)),
             (4, (P * 2, ONE)), (3, (P, P)), (3, (P, D))]
        )  # fmt: skip
        depth = self.choices.weighted([(3, 1), (4, 2), (2, 3)])
        self.assign(f"v{number}", self.make(rows, cols, depth, cols == ONE))

    def vary(self, value: Value) -> Value:
        """The value, made to differ from sequence to sequence if it does not yet."""
        if value.batch:
            return value
        x = self.moving(value.rows)
        bounds = value.range * x.range
        return Value(f"{value.inner} * {x.inner}", value.rows, ONE, True, bounds, False)

    def new_states(self) -> dict[str, Value]:
        out = {}
        for n, shape in self.declared["states"].items():
            fresh = [v for v in self.unread.values() if (v.rows, v.cols) == (shape.rows, ONE)]
            if fresh and not self.choices.chance(25):
                value = self.choices.pick(fresh[::-1])
                self.unread.pop(value.text)
            else:
                value = self.make(shape.rows, ONE, self.choices.integer(0, 2))
            out[n] = self.calm(self._remembering(n, self.vary(value)), BOX.hi)
        return out

    def _remembering(self, state: str, value: Value) -> Value:
        """Often a mix with the state's own past, as leaky and gated units have."""
        old = self.choices.pick(self.known[state])
        kind = self.choices.weighted([(8, 0), (3, 1), (3, 2), (2, 3)])
        if kind == 0:
            return value
        if kind == 1:
            bounds = old.range.hull(value.range)
            return Value(
                f"0.5 * {old.text} + 0.5 * {value.inner}", value.rows, ONE, True, bounds, False
            )
        if kind == 2:
            return self.mix(value, old, self.make(value.rows, ONE, 1))
        bounds = old.range + value.range
        return Value(f"{old.text} + {value.inner}", value.rows, ONE, True, bounds, False)

    def outputs(self) -> dict[str, Value]:
        """Everything computed and not read yet is handed out, so that nothing is dead."""
        out: dict[str, Value] = {}
        for value in list(self.unread.values()):
            if value.text not in self.unread:
                continue
            self.unread.pop(value.text)
            if value.cols != ONE:
                x = self.moving(value.cols)
                bounds = (value.range * x.range).times(4)
                value = Value(f"{value.text} @ {x.inner}", value.rows, ONE, True, bounds, False)
            value = self.vary(value)
            label = f"y{len(out) + 1}"
            if value.rows == ONE and "loss" not in out and self.choices.chance(50):
                label = "loss"
            out[label] = value
        if "loss" not in out and self.choices.chance(30):
            out["loss"] = self.vary(self.make(ONE, ONE, 2))
        for value in [self.moving(Dim.of({n: 1})) for n in self._unsized()]:
            out[f"y{len(out) + 1}"] = value
        return out

    def _unsized(self) -> list[str]:
        """Dims that no array tells, because they occur in sums like p + q only."""
        dims = [d for g in self.declared.values() for s in g.values() for d in (s.rows, s.cols)]
        told = {d.names for d in dims}
        return sorted({n for d in dims for n in d.names if (n,) not in told})


def _signature(declared: dict[str, dict[str, Shape]]) -> str:
    return ", ".join(n for kind in _KINDS for n in declared[kind])


def dims_text(shape: Shape) -> str:
    """The dims of a shape as a declaration writes them."""

    def dim(d: Dim) -> str:
        return str(d).replace(" ", "")

    if shape.scalar:
        return ""
    return dim(shape.rows) if shape.column else f"{dim(shape.rows)} {dim(shape.cols)}"


def _group(names: dict[str, Shape]) -> str:
    """Names with their dims, neighbours of one shape together, in the order of a returned tuple."""
    groups = groupby(names, key=lambda n: dims_text(names[n]))
    return "; ".join(f"{' '.join(ns)}: {dims}" for dims, ns in groups)


def random_cell(
    choices: Choices, name: str = "random_cell", *, size: int = 5, states: bool = True
) -> CellText:
    """A random definition.

    Parameters
    ----------
    choices : Choices
        Where the structure comes from.
    size : int
        The largest number of intermediate values.
    states : bool
        Whether it is recurrent; a readout is not.
    """
    it = _Definition(choices, name, size, states)
    for number in range(1, 1 + choices.integer(1, size)):
        it.add_local(number)
    new = it.new_states()
    out = it.outputs()
    if not new and not out:
        out["y1"] = it.vary(it.make(P, ONE, 1))
    # States are assigned last and all at once: an update must not read another's new value.
    results = {**new, **out}
    as_tuple = choices.chance(50)
    header = [f'    {k}="{_group(g)}",' for k, g in it.declared.items() if g]
    if it.lags:
        header.append(f"    lags={it.lags},")
    shown = [n for n in new if not choices.chance(20)] if out else list(new)
    shown += list(out)
    if shown != list(new):
        header.append(f'    outputs="{" ".join(shown)}",')
    if it.at_least:
        header.append(f"    at_least={it.at_least},")
    if as_tuple:
        body = f"return {', '.join(v.text for v in results.values())}"
    else:
        body = "return {" + ", ".join(f'"{n}": {v.text}' for n, v in results.items()) + "}"
    text = "\n".join(
        ["@cell(", *header, ")", f"def {name}({_signature(it.declared)}):"]
        + [f"    {line}" for line in (*it.lines, body)]
    )
    return CellText(
        name, text, it.declared, it.lags,
        {n: Shape(results[n].rows, ONE, True) for n in shown},
        {n: v.range for n, v in results.items()}, it.imports, it.functions,
    )  # fmt: skip
