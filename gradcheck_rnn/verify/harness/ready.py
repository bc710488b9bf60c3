"""Ready layouts of libraries and lectures for the zoo's cells.

Each is text in the notation of `layout`, so that a user can print one, change a line and have his
own. The libraries' cells by definition: ``lstm`` for every LSTM, ``gru_reset_after`` for PyTorch,
cuDNN and Keras with ``reset_after``, ``gru`` for Keras without, ``elman_hidden`` for plain RNNs.
The update gate of the libraries' GRUs is 1 − z of ours: its weights come with a minus sign.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from ...errors import UsageError
from .layout import Layout

__all__ = ["READY", "catalogue", "ready", "source"]

KINDS = ("lstm", "gru", "rnn")


def _stack(names: str, suffix: str, prefix: str) -> str:
    """``[U_i; -U_z]`` from ``i -z``: one piece a gate, signs kept."""
    if not names:
        return f"[{prefix.rstrip('_')}{suffix}]"
    parts = []
    for gate in names.split():
        sign, gate = ("-", gate[1:]) if gate.startswith("-") else ("", gate)
        parts.append(f"{sign}{prefix}{gate}{suffix}")
    return f"[{'; '.join(parts)}]"


_PYTORCH = {"lstm": "i f c o", "gru": "r -z c", "rnn": ""}
_KERAS = {"lstm": "i f c o", "gru": "-z r c", "rnn": ""}
_CUDNN = {"lstm": "i f c o", "gru": "r -z c", "rnn": ""}


def pytorch(kind: str, *, suffix: str = "", layer: str = "l0", batch_first: bool = False) -> Layout:
    """``torch.nn.LSTM``, ``GRU`` (reset after the product) and ``RNN``, one layer.

    ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``; states ``(1, B, p)``.
    """
    gates = _gates(_PYTORCH, kind)
    bias = "b_i" if kind == "rnn" else _stack(gates, suffix, "b_")
    hidden = bias.replace("b_c", "d_c") if kind == "gru" else bias
    axes = "B T n" if batch_first else "T B n"
    return _with_states(
        kind, suffix,
        {
            f"weight_ih_{layer}": _stack(gates, suffix, "U_"),
            f"weight_hh_{layer}": _stack(gates, suffix, "W_"),
            f"bias_ih_{layer}": bias,
            f"bias_hh_{layer}": hidden,
        },
        {"input": f"x{suffix}: {axes}", "h_0": f"h{suffix}0: 1 B n", "c_0": f"c{suffix}0: 1 B n"},
        {"output": f"h{suffix}: {axes}", "h_n": f"h{suffix}_final: 1 B n",
         "c_n": f"c{suffix}_final: 1 B n"},
        f"PyTorch {kind}",
    )  # fmt: skip


def keras(kind: str, *, suffix: str = "", reset_after: bool = True) -> Layout:
    """Keras ``LSTM``, ``GRU`` and ``SimpleRNN``: ``kernel``, ``recurrent_kernel``, ``bias``."""
    gates = _gates(_KERAS, kind)
    bias = "b_i" if kind == "rnn" else _stack(gates, suffix, "b_")
    if kind == "gru" and reset_after:
        row = " ".join(f"{p.strip(' [];')}.T" for p in bias.split(";"))
        bias = f"[{row}; {row.replace('b_c', 'd_c')}]"
    return _with_states(
        kind, suffix,
        {
            "kernel": _stack(gates, suffix, "U_") + ".T",
            "recurrent_kernel": _stack(gates, suffix, "W_") + ".T",
            "bias": bias,
        },
        {"inputs": f"x{suffix}: B T n", "h0": f"h{suffix}0: B n", "c0": f"c{suffix}0: B n"},
        {"sequence": f"h{suffix}: B T n", "h": f"h{suffix}_final: B n",
         "c": f"c{suffix}_final: B n"},
        f"Keras {kind}",
    )  # fmt: skip


def cudnn(kind: str, *, suffix: str = "") -> Layout:
    """cuDNN's one weight buffer: input matrices, recurrent matrices, then both kinds of biases."""
    gates = _gates(_CUDNN, kind)
    if kind == "rnn":
        words = [f"U{suffix}", f"W{suffix}", "b_i"]
        second = ["b_i"]
    else:

        def each(p: str) -> list[str]:
            return _stack(gates, suffix, p).strip("[]").split("; ")

        words = [*each("U_"), *each("W_"), *each("b_")]
        second = [w.replace("b_c", "d_c") if kind == "gru" else w for w in each("b_")]
    return _with_states(
        kind, suffix, {"weights": f"flat({', '.join([*words, *second])})"},
        {"x": f"x{suffix}: T B n", "hx": f"h{suffix}0: 1 B n", "cx": f"c{suffix}0: 1 B n"},
        {"y": f"h{suffix}: T B n", "hy": f"h{suffix}_final: 1 B n",
         "cy": f"c{suffix}_final: 1 B n"},
        f"cuDNN {kind}",
    )  # fmt: skip


def lecture(kind: str, *, suffix: str = "", order: str = "") -> Layout:
    """Row vectors, gates as columns, batch first, as in the CS231n assignments: ``Wx, Wh, b``.

    ``order`` names the gates as the code packs them, by default ``i f o c`` (c is the candidate,
    often called g).
    """
    gates = order or {"lstm": "i f o c", "gru": "r z c", "rnn": ""}.get(kind, "")
    _gates(_PYTORCH, kind)
    bias = "b_i" if kind == "rnn" else _stack(gates, suffix, "b_")
    return _with_states(
        kind, suffix,
        {
            "Wx": _stack(gates, suffix, "U_") + ".T",
            "Wh": _stack(gates, suffix, "W_") + ".T",
            "b": bias,
        },
        {"x": f"x{suffix}: B T n", "h0": f"h{suffix}0: B n", "c0": f"c{suffix}0: B n"},
        {"h": f"h{suffix}: B T n", "h_T": f"h{suffix}_final: B n", "c_T": f"c{suffix}_final: B n"},
        f"row vectors, {kind}",
    )  # fmt: skip


def stacked_rows(kind: str, *, suffix: str = "", order: str = "") -> Layout:
    """Lectures that stack state and input: ``[W U] [h; x]``, gates as rows, batch as columns."""
    gates = (order or {"lstm": "f i o c", "gru": "r z c"}.get(kind, "")).split()
    lines = "; ".join(f"W_{g}{suffix} U_{g}{suffix}" for g in gates) or f"W{suffix} U{suffix}"
    bias = _stack(" ".join(gates), suffix, "b_") if gates else "b_i"
    return _with_states(
        kind, suffix, {"W": f"[{lines}]", "b": f"{bias} as column"},
        {"x": f"x{suffix}: T n B", "h0": f"h{suffix}0: n B", "c0": f"c{suffix}0: n B"},
        {"hs": f"h{suffix}: T n B", "h_T": f"h{suffix}_final: n B",
         "c_T": f"c{suffix}_final: n B"},
        f"stacked state and input, {kind}",
    )  # fmt: skip


def _gates(table: dict[str, str], kind: str) -> str:
    if kind not in table:
        raise UsageError(f"no ready layout for {kind!r}; there are {', '.join(table)}")
    return table[kind]


def _with_states(
    kind: str,
    suffix: str,
    parameters: dict[str, str],
    inputs: dict[str, str],
    outputs: dict[str, str],
    name: str,
) -> Layout:
    if kind != "lstm":  # only the LSTM has a memory cell
        inputs = {n: t for n, t in inputs.items() if not t.startswith(f"c{suffix}0")}
        outputs = {n: t for n, t in outputs.items() if not t.startswith(f"c{suffix}_final")}
    return Layout(parameters, inputs, outputs, name=name)


READY: dict[str, Callable[..., Layout]] = {
    "pytorch": pytorch,
    "keras": keras,
    "cudnn": cudnn,
    "lecture": lecture,
    "stacked": stacked_rows,
}


def ready(text: str) -> Layout:
    """A ready layout by name: ``"pytorch lstm"``, ``"keras gru"``, ``"lecture lstm"``, …

    Raises
    ------
    UsageError
        No such convention or cell.
    """
    convention, _, kind = text.partition(" ")
    if convention not in READY:
        raise UsageError(
            f"no ready layout {text!r}; conventions are {', '.join(READY)}, each with lstm, gru "
            "or rnn"
        )
    return READY[convention](kind.strip())


def catalogue() -> list[dict[str, str]]:
    """The ready layouts as rows with the keys name, cell (of the zoo, its definition) and what."""
    return [
        {
            "name": f"{convention} {kind}",
            "cell": _definition(convention, kind),
            "what": (inspect.getdoc(make) or "")
            .partition("\n\n")[0]
            .replace("\n", " ")
            .replace("``", ""),
        }
        for convention, make in READY.items()
        for kind in KINDS
    ]


def _definition(convention: str, kind: str) -> str:
    """The cell of the zoo that such code implements."""
    if kind == "gru":
        # The one bias of the lectures goes into the sum, as where the reset comes first.
        return "gru" if convention in ("lecture", "stacked") else "gru_reset_after"
    return {"lstm": "lstm", "rnn": "elman_hidden"}[kind]


def source(layout: Layout) -> str:
    """A layout as Python text, to be changed and kept in the user's own file."""

    def table(name: str, entries: Mapping[str, str]) -> str:
        lines = "".join(f"        {_quoted(k)}: {_quoted(v)},\n" for k, v in entries.items())
        return f"    {name}={{\n{lines}    }},\n"

    tables = "".join(
        table(name, getattr(layout, name)) for name in ("parameters", "inputs", "outputs")
    )
    return (
        "from gradcheck_rnn import Layout\n\n"
        f"layout = Layout(\n{tables}    name={_quoted(layout.name)},\n)\n"
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
