"""Ready layouts by name: ``"pytorch lstm"``, ``"keras gru reset_after=False"``, ``"own columns"``.

Each is text in the notation of `layout`, so that a user can print one, change a line and have his
own. Options have the names that they have in the library; one without a value is switched on.
``without=c0,h_T`` leaves out initial states, which are zero then, and outputs; ``rename=x:xs``
gives an array another name; ``axes=T,n,B`` is the order of the axes of sequences and states;
``join=weight:[W.T;U.T]`` holds what it names in one array, in the notation of `layout`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import UsageError
from ...language.network import Network
from .layout import Layout
from .library_conventions import (
    KINDS,
    columns,
    cudnn,
    flax,
    keras,
    lecture,
    onnx,
    own,
    pytorch,
    separate,
    stacked_rows,
)
from .packages import PACKAGES

__all__ = ["READY", "catalogue", "definition", "depth", "ready", "source"]

READY: dict[str, Callable[..., Layout]] = {
    "pytorch": pytorch,
    "keras": keras,
    "cudnn": cudnn,
    "onnx": onnx,
    "flax": flax,
    "lecture": lecture,
    "stacked": stacked_rows,
    "columns": columns,
    "separate": separate,
}
#: The layout of any definition, in its own names.
OWN = "own"
_MAKERS: dict[str, Callable[..., Layout]] = {
    **READY, **{c: make for c, (make, _) in PACKAGES.items()}, OWN: own,
}  # fmt: skip
SAY = "say of which (--definition cell.py:mine)"
#: An option of every layout: initial states that start at zero, and outputs, that the code has not.
WITHOUT = "without"
#: An option of every layout: the code's names for arrays that the layout calls otherwise.
RENAME = "rename"
#: Options that are of another definition, and how its name ends.
_ENDS = {"scale": "scaled", "reverse": "reverse"}
#: An option of every layout: the order of axes of a sequence, and without time of a state.
AXES = "axes"
#: An option of every layout: parameters that the code holds in one array, by its name.
JOIN = "join"
#: The options of every layout, for lists of them.
COMMON = f"{WITHOUT}=a0,h_T, {RENAME}=x:xs,h:hs, {AXES}=T,n,B, {JOIN}=weight:[W;U]"
#: Spaces between the words of a layout's name, commas between the pairs of an option.
_SPACES, _COMMAS = (re.compile(rf"{c}(?![^\[(]*[\])])") for c in (r"\s+", r"\s*,\s*"))
#: Layouts with options that are of another cell than those without.
VARIANTS = (
    "pytorch lstm projected", "keras gru reset_after=False", "onnx lstm peepholes",
    "onnx gru linear_before_reset",
)  # fmt: skip


def _read(text: str) -> tuple[str, str, dict[str, Any]]:
    """Convention, kind and options of a name.

    Raises
    ------
    UsageError
        No such convention or option.
    """
    given = _SPACES.split(text.strip())
    if given[:1] == [OWN]:
        given.insert(1, "")
    convention, kind, *words = given if len(given) > 1 else (text, "")
    if convention not in _MAKERS:
        kinds = "; ".join(f"{c} with {', '.join(k)}" for c, (_, k) in PACKAGES.items())
        raise UsageError(
            f"no ready layout {text!r}; conventions are {', '.join(READY)}, each with lstm, gru "
            f"or rnn; {kinds}; and {OWN} for any definition"
        )
    known = {
        n: p.default
        for n, p in inspect.signature(_MAKERS[convention]).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }
    known |= {WITHOUT: "", RENAME: "", AXES: "", JOIN: ""}
    options: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in known:
            raise UsageError(
                f"no ready layout {text!r}: {convention} has no option {name!r}; it has "
                f"{', '.join(known)}"
            )
        options[name] = _value(text, name, value, known[name]) if equals else True
        if not equals and not isinstance(known[name], bool):
            raise UsageError(f"no ready layout {text!r}: {name} needs a value, {name}=…")
    return convention, kind, options


def _value(text: str, name: str, value: str, default: Any) -> Any:
    """The value of an option, of the type of its default."""
    if isinstance(default, bool):
        if value in ("True", "False"):
            return value == "True"
        raise UsageError(f"no ready layout {text!r}: {name} is True or False, not {value!r}")
    if isinstance(default, int):
        if value.isdecimal() and 1 <= int(value) <= 999:
            return int(value)
        raise UsageError(f"no ready layout {text!r}: {name} is a number from 1 on, not {value!r}")
    return value if name == JOIN else value.replace(",", " ")


def ready(text: str, network: Network | None = None) -> Layout:
    """A ready layout by name: ``"pytorch lstm"``, ``"keras gru reset_after=False"``, …

    ``"own"`` is of any definition, `network`, in its own names.

    Raises
    ------
    UsageError
        No such convention, cell or option.
    """
    convention, kind, options = _read(text)
    left_out = options.pop(WITHOUT, "").split()
    renamed, order = options.pop(RENAME, "").split(), options.pop(AXES, "").split()
    joined = options.pop(JOIN, "")
    if convention == OWN:
        if network is None:
            raise UsageError(f"the layout {OWN!r} is of any definition: {SAY}")
        layout = own(network, **options)
    else:
        layout = _MAKERS[convention](kind, **options)
    for name in left_out:
        if name not in (*list(layout.inputs)[1:], *layout.outputs):  # the sequence itself stays
            raise UsageError(
                f"no ready layout {text!r}: without names initial states and outputs, "
                f"{', '.join([*list(layout.inputs)[1:], *layout.outputs])}, not {name!r}"
            )
    layout = _without(layout, text, left_out) if left_out else layout
    layout = _with_axes(layout, text, order) if order else layout
    layout = _joined(layout, text, _COMMAS.split(joined)) if joined else layout
    return _with_names(layout, text, renamed) if renamed else layout


def _with_axes(layout: Layout, text: str, order: list[str]) -> Layout:
    """The layout with sequences, and states, in another order of axes: ``["T", "n", "B"]``.

    Raises
    ------
    UsageError
        Other axes than the sequences of the layout have.
    """

    def placed(entry: str) -> str:
        who, _, given = entry.partition(":")
        axes = given.split()
        wanted = [a for a in order if a != "T" or "T" in axes]
        if sorted(axes) == sorted(wanted):
            return f"{who}: {' '.join(wanted)}"
        if "T" in axes:
            raise UsageError(
                f"no ready layout {text!r}: {AXES} gives all axes of a sequence, {AXES}=T,n,B; "
                f"{who} has {', '.join(axes)}"
            )
        return entry

    return replace(
        layout,
        inputs={n: placed(t) for n, t in layout.inputs.items()},
        outputs={n: placed(t) for n, t in layout.outputs.items()},
    )


def _joined(layout: Layout, text: str, pairs: list[str]) -> Layout:
    """The layout with parameters in one array: ``["weight:[W.T;U.T]"]``, in definition's names.

    Raises
    ------
    UsageError
        No pair, a name of no parameter, or one that another array has.
    """
    table = dict(layout.parameters)
    for pair in pairs:
        own, _, held = (part.strip() for part in pair.partition(":"))
        held = held[1:-1] if held.startswith("(") else held
        inside = re.findall(r"\w+", re.sub(r"^flat|\.T\b|\bas (row|column)$", "", held))
        old = [n for n, entry in table.items() if set(re.findall(r"\w+", entry)) & set(inside)]
        there = {w for n in old for w in re.findall(r"\w+", table[n])} - {"T", "as", "column"}
        if not own.isidentifier() or not inside or not set(inside) <= there:
            raise UsageError(
                f"no ready layout {text!r}: {JOIN} takes an array of the code and what is in it, "
                f"{JOIN}=weight:[W.T;U.T], with names of {', '.join(layout.parameters.values())}; "
                f"not {pair!r}"
            )
        if all(table[n].endswith(" as column") for n in old) and " as " not in held:
            held += " as column"
        first = list(table).index(old[0])
        kept = [(n, entry) for n, entry in table.items() if n not in old]
        if own in dict(kept) or own in layout.inputs:
            raise UsageError(f"no ready layout {text!r}: by {JOIN} two arrays are called {own!r}")
        table = dict([*kept[:first], (own, held), *kept[first:]])
    return replace(layout, parameters=table)


def _without(layout: Layout, text: str, left_out: list[str]) -> Layout:
    inputs = {n: t for n, t in layout.inputs.items() if n not in left_out}
    outputs = {n: t for n, t in layout.outputs.items() if n not in left_out}
    if not outputs:
        raise UsageError(f"no ready layout {text!r}: without its outputs nothing is left")
    return replace(layout, inputs=inputs, outputs=outputs)


def _with_names(layout: Layout, text: str, pairs: list[str]) -> Layout:
    """The layout with other names: ``["x:xs", "h:hs"]``, all at once.

    Raises
    ------
    UsageError
        No pair, a name that the layout has not, or one that two arrays of a kind would have.
    """
    kinds = ("parameters", "inputs", "outputs")
    tables: dict[str, Mapping[str, str]] = {n: getattr(layout, n) for n in kinds}
    names = dict.fromkeys(n for table in tables.values() for n in table)
    new: dict[str, str] = {}
    for pair in pairs:
        old, colon, own = pair.partition(":")
        if not colon or not own.isidentifier() or old not in names:
            raise UsageError(
                f"no ready layout {text!r}: rename takes pairs old:new, rename=x:xs,h:hs, of "
                f"{', '.join(names)}; not {pair!r}"
            )
        new[old] = own
    out = {n: {new.get(k, k): v for k, v in table.items()} for n, table in tables.items()}
    if any(len(out[n]) < len(tables[n]) for n in out) or set(out["parameters"]) & set(
        out["inputs"]
    ):
        raise UsageError(f"no ready layout {text!r}: by rename two arrays have one name")
    return replace(
        layout, parameters=out["parameters"], inputs=out["inputs"], outputs=out["outputs"]
    )


def definition(text: str) -> str:
    """The cell of the zoo that code in this layout computes, one layer of it where there are more.

    ``lstm`` for every LSTM, ``gru_reset_after`` for PyTorch, cuDNN, Flax and Keras, ``gru`` where
    the reset comes before the product, ``elman_hidden`` for plain RNNs.

    Raises
    ------
    UsageError
        No such convention, cell or option.
    """
    convention, kind, options = _read(text)
    if convention == OWN:
        raise UsageError(f"the layout {OWN!r} is of any definition: {SAY}")
    _MAKERS[convention](kind)  # refuses a kind that it has not
    if convention in PACKAGES:
        changed = "".join(f"_{_ENDS[n]}" for n in _ENDS if options.get(n))
        return PACKAGES[convention][1][kind] + changed
    if kind == "gru":
        # The one bias of the lectures goes into the sum, as where the reset comes first.
        before = {
            "lecture": True, "stacked": True, "columns": True, "separate": True,
            "keras": not options.get("reset_after", True),
            "onnx": not options.get("linear_before_reset", False),
        }  # fmt: skip
        return "gru" if before.get(convention) else "gru_reset_after"
    if options.get("projected"):
        return "lstm_projected"
    if options.get("peepholes"):
        return "lstm_peephole"
    return {"lstm": "lstm", "rnn": "elman_hidden"}[kind]


def depth(text: str) -> tuple[int, bool]:
    """Layers of code in this layout, and whether each runs in both directions."""
    options = _read(text)[2]
    return options.get("num_layers", 1), bool(options.get("bidirectional"))


def catalogue() -> list[dict[str, str]]:
    """The ready layouts as rows with the keys name, cell (of the zoo) and what (with options)."""
    names = [f"{convention} {kind}" for convention in READY for kind in KINDS]
    kernels = [f"{convention} {kind}" for convention, (_, k) in PACKAGES.items() for kind in k]
    rows = [
        {"name": name, "cell": definition(name), "what": _what(_MAKERS[name.split()[0]])}
        for name in [*names, *VARIANTS, *kernels]
    ]
    return [*rows, {"name": OWN, "cell": "any", "what": _what(own)}]


def _what(make: Callable[..., Layout]) -> str:
    """The first sentence on a convention, and its options."""
    said = (inspect.getdoc(make) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "")
    options = [
        f"{n}={p.default}" if p.default != "" else f"{n}=…"
        for n, p in inspect.signature(make).parameters.items()
        if p.kind is p.KEYWORD_ONLY and n not in ("suffix", "layer")
    ]
    return f"{said} Options: {', '.join(options)}." if options else said


def source(layout: Layout) -> str:
    """A layout as Python text, to be changed and kept in the user's own file."""

    def table(name: str, entries: Mapping[str, str]) -> str:
        lines = "".join(f"        {_quoted(k)}: {_quoted(v)},\n" for k, v in entries.items())
        return f"    {name}={{\n{lines}    }},\n"

    tables = "".join(
        table(name, getattr(layout, name)) for name in ("parameters", "inputs", "outputs")
    )
    if layout.zero:
        tables += f"    zero=({', '.join(map(_quoted, layout.zero))},),\n"
    return (
        "from gradcheck_rnn import Layout\n\n"
        f"layout = Layout(\n{tables}    name={_quoted(layout.name)},\n)\n"
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
