"""Random networks: DAGs of scans over random cells, as Python source text.

Stacks, both directions, masks, tied parameters, starts that are zero, trained, given or another
scan's last state, readouts that run once, and a second time axis (encoder and decoder).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gradcheck_rnn.language.dims import Dim, Shape

from .choices import Choices
from .expressions import BOX
from .random_cells import CellText, dims_text, emit_file, random_cell

__all__ = ["random_file", "random_network"]


@dataclass
class _Sequence:
    """Something a later scan can read: its text, shape, and time axis (None: one vector)."""

    text: str
    rows: Dim
    axis: str | None


@dataclass
class _Building:
    choices: Choices
    lines: list[str] = field(default_factory=list)
    sequences: list[_Sequence] = field(default_factory=list)
    finals: list[_Sequence] = field(default_factory=list)
    parameters: list[tuple[str, str]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    masks: set[str] = field(default_factory=set)

    def shared_input(self) -> None:
        rows = self.choices.pick(("d", "p"))
        self.lines.append(f'x = network.input("x", "{rows}")')
        self.sequences.append(_Sequence("x", Dim.of({rows: 1}), "T"))

    # -- the arguments of one scan ---------------------------------------------------------------

    def bound(self, cell: CellText, axis: str | None) -> tuple[dict[str, str], dict[str, Dim]]:
        """Bindings of the cell's inputs, and what they say about the cell's dims."""
        found: dict[str, str] = {}
        renamed: dict[str, Dim] = {}
        kept: set[str] = set()  # names that a sum of dims holds to what they are
        for name, shape in cell.declared["inputs"].items():
            known = [s for s in (*self.sequences, *self.finals) if s.axis in (axis, None)]
            if self.choices.chance(25):
                continue
            fitting = []
            for s in known:
                names = set(shape.rows.names)
                if shape.rows.lone is not None and not names & set(renamed):
                    fits = s.rows == shape.rows if names <= kept else s.rows.lone is not None
                else:  # a sum of dims is compared with all of them renamed, or none
                    fits = shape.rows.rename(renamed) == s.rows
                    fits = fits and (names <= set(renamed) or not names & set(renamed))
                if fits:
                    fitting.append(s)
            if not fitting:
                continue
            chosen = self.choices.pick(fitting[::-1])
            if shape.rows.lone is not None:
                renamed[shape.rows.lone] = chosen.rows
            else:
                kept |= set(shape.rows.names) - set(renamed)
            found[name] = chosen.text
        return found, renamed

    def tied(self, cell: CellText, renamed: dict[str, Dim]) -> dict[str, str]:
        out = {}
        for name, shape in cell.declared["params"].items():
            wanted = dims_text(shape.rename(renamed))
            # A sum of dims is compared with all of them renamed, or none.
            sums = [set(d.names) for d in (shape.rows, shape.cols) if d.lone is None]
            if "tau" in name or any(n & set(renamed) and not n <= set(renamed) for n in sums):
                continue
            fitting = [text for text, dims in self.parameters if dims == wanted]
            if fitting and self.choices.chance(40):
                out[name] = self.choices.pick(fitting)
        return out

    def starts(self, cell: CellText, suffix: str, renamed: dict[str, Dim]) -> list[str]:
        """Entries of ``initial`` that differ from the default, an input."""
        out = []
        read = [s for k, g in cell.declared.items() if k != "states" for s in g.values()]
        told = {d.lone for s in read for d in (s.rows, s.cols)}
        for name, shape in cell.declared["states"].items():
            depth = max(cell.lags.get(name, (1,)))
            rows = shape.rows.rename(renamed)
            options = ["", "param"]
            if told >= set(shape.rows.names):  # a zero start is sized by what the cell reads
                options.append("None")
            options += [s.text for s in self.finals if s.rows == rows]
            chosen = self.choices.pick(options)
            if not chosen:
                continue
            if chosen == "param":
                dims = dims_text(Shape(rows))
                chosen = f'network.parameter("{name}_start{suffix}", "{dims}")'
            if depth > 1:
                chosen = f"({', '.join([chosen] + ['None'] * (depth - 1))})"
            out.append(f'"{name}": {chosen}')
        return out

    # -- scans -----------------------------------------------------------------------------------

    def scan(self, cell: CellText, number: int, axis: str | None) -> None:
        suffix = f"_{number}"
        handle = f"s{number}"
        found, renamed = self.bound(cell, axis)
        arguments = [cell.name, f'suffix="{suffix}"']
        if axis != "T":
            arguments.append(f"axis={axis!r}")
        if axis is not None and self.choices.chance(30):
            arguments.append("reverse=True")
        states = cell.declared["states"]
        if states and self.choices.chance(25):
            mask = f"mask_{axis}"
            if axis not in self.masks:
                self.lines.append(f'{mask} = network.input("{mask}", "", axis={axis!r}, data=True)')
                self.masks.add(axis or "")
            arguments.append(f"mask={mask}")
        reads = cell.declared["inputs"] or cell.declared["data"]
        if states and reads and self.choices.chance(60):
            starts = self.starts(cell, suffix, renamed)
            if starts:
                arguments.append(f"initial={{{', '.join(starts)}}}")
        tied = self.tied(cell, renamed)
        arguments += [f"{n}={text}" for n, text in (found | tied).items()]
        self.lines.append(f"{handle} = network.scan({', '.join(arguments)})")
        for n, shape in cell.declared["params"].items():
            if n not in tied and "tau" not in n:
                dims = dims_text(shape.rename(renamed))
                self.parameters.append((f'network.parameters["{n}{suffix}"]', dims))
        self._results(cell, handle, axis, renamed)

    def _results(
        self, cell: CellText, handle: str, axis: str | None, renamed: dict[str, Dim]
    ) -> None:
        for n, shape in cell.outputs.items():
            text, rows = f"{handle}.{n}", shape.rows.rename(renamed)
            if n == "loss" and self.choices.chance(70):
                self.losses.append(text)
                continue
            if cell.bounds[n].size <= BOX.hi:
                self.sequences.append(_Sequence(text, rows, axis))
            if self.choices.chance(60):
                self.outputs.append(text)
        for n, shape in cell.declared["states"].items():
            text = f'{handle}.final("{n}")'
            self.finals.append(_Sequence(text, shape.rows.rename(renamed), None))
            if self.choices.chance(50):
                self.outputs.append(text)


def random_network(choices: Choices, name: str = "network", *, size: int = 3) -> str:
    """The text of a file that defines a random network of two to four scans.

    Parameters
    ----------
    choices : Choices
        Where the structure comes from.
    name : str
        Name of the network in the file.
    size : int
        The largest number of intermediate values of a cell.
    """
    layers = [
        random_cell(choices, f"layer_{k}", size=size) for k in range(1, 1 + choices.integer(1, 2))
    ]
    readout = random_cell(choices, "readout", size=2, states=False)
    it = _Building(choices)
    it.shared_input()
    axes = [choices.weighted([(3, "T"), (1, "S")]) for _ in range(choices.integer(1, 2))]
    for number, axis in enumerate(("T", *axes), 1):
        it.scan(choices.pick(layers), number, axis)
    number = len(axes) + 2
    last = choices.weighted([(3, "T"), (2, None), (2, "")])
    if last != "":
        it.scan(readout, number, last)
    if not it.outputs and not it.losses:
        it.outputs.append(f's{len(axes) + 1}.final("h")')
    tail = [f'{name} = Network("{name}")', *it.lines]
    if it.outputs:
        tail.append(f"{name}.output({', '.join(it.outputs)})")
    tail += [f"{name}.loss({text})" for text in it.losses]
    used = [c for c in (*layers, readout) if any(f"({c.name}," in line for line in it.lines)]
    return emit_file(
        "Random network.", used, "\n".join(tail),
        "from gradcheck_rnn.language.network import Network",
    )  # fmt: skip


def random_file(choices: Choices, *, size: int = 5, networks: int = 25) -> tuple[str, str]:
    """A random definition as (text of a file, name in it): a cell, or a network in some cases.

    Parameters
    ----------
    networks : int
        How many in a hundred are networks.
    """
    if choices.chance(networks):
        return random_network(choices, size=max(2, size - 2)), "network"
    return emit_file("Random cell.", [random_cell(choices, size=size)]), "random_cell"
