"""Ready layouts by name: ``"pytorch lstm"``, ``"keras gru reset_after=False"``.

Each is text in the notation of `layout`, so that a user can print one, change a line and have his
own. Options have the names that they have in the library; one without a value is switched on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import UsageError
from .conventions import KINDS, cudnn, flax, keras, lecture, onnx, pytorch, stacked_rows
from .layout import Layout

__all__ = ["READY", "catalogue", "definition", "ready", "source"]

READY: dict[str, Callable[..., Layout]] = {
    "pytorch": pytorch,
    "keras": keras,
    "cudnn": cudnn,
    "onnx": onnx,
    "flax": flax,
    "lecture": lecture,
    "stacked": stacked_rows,
}
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
    given = text.split()
    convention, kind, *words = given if len(given) > 1 else (text, "")
    if convention not in READY:
        raise UsageError(
            f"no ready layout {text!r}; conventions are {', '.join(READY)}, each with lstm, gru "
            "or rnn"
        )
    known = {
        n: p.default
        for n, p in inspect.signature(READY[convention]).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }
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
    return value.replace(",", " ")


def ready(text: str) -> Layout:
    """A ready layout by name: ``"pytorch lstm"``, ``"keras gru reset_after=False"``, …

    Raises
    ------
    UsageError
        No such convention, cell or option.
    """
    convention, kind, options = _read(text)
    return READY[convention](kind, **options)


def definition(text: str) -> str:
    """The cell of the zoo that code in this layout computes, one layer of it where there are more.

    ``lstm`` for every LSTM, ``gru_reset_after`` for PyTorch, cuDNN, Flax and Keras, ``gru`` where
    the reset comes before the product, ``elman_hidden`` for plain RNNs.
    """
    convention, kind, options = _read(text)
    if kind == "gru":
        # The one bias of the lectures goes into the sum, as where the reset comes first.
        before = {
            "lecture": True, "stacked": True,
            "keras": not options.get("reset_after", True),
            "onnx": not options.get("linear_before_reset", False),
        }  # fmt: skip
        return "gru" if before.get(convention) else "gru_reset_after"
    if options.get("projected"):
        return "lstm_projected"
    if options.get("peepholes"):
        return "lstm_peephole"
    return {"lstm": "lstm", "rnn": "elman_hidden"}[kind]


def catalogue() -> list[dict[str, str]]:
    """The ready layouts as rows with the keys name, cell (of the zoo) and what (with options)."""
    names = [f"{convention} {kind}" for convention in READY for kind in KINDS]
    return [
        {"name": name, "cell": definition(name), "what": _what(READY[name.split()[0]])}
        for name in [*names, *VARIANTS]
    ]


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
