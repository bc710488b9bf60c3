"""How libraries and lectures hold the arrays of the zoo's cells: one function a convention.

Options have the names and defaults of the library. The update gate of the libraries' GRUs is 1 − z
of ours: its weights come with a minus sign. Cells and networks: see `ready.definition`.
"""

from __future__ import annotations

from ...errors import UsageError
from ...language.network import Network
from .layout import Layout, axes_of

__all__ = [
    "KINDS",
    "columns",
    "cudnn",
    "flax",
    "keras",
    "lecture",
    "onnx",
    "own",
    "pytorch",
    "stacked_rows",
]

KINDS = ("lstm", "gru", "rnn")
#: The order of a library's gates, by kind.
_PYTORCH = {"lstm": "i f c o", "gru": "r -z c", "rnn": ""}
_KERAS = {"lstm": "i f c o", "gru": "-z r c", "rnn": ""}
_ONNX = {"lstm": "i o f c", "gru": "-z r c", "rnn": ""}


def _stack(names: str, suffix: str, prefix: str) -> str:
    """``[U_i; -U_z]`` from ``i -z``: one piece a gate, signs kept."""
    if not names:
        return f"[{prefix.rstrip('_')}{suffix}]"
    parts = []
    for gate in names.split():
        sign, gate = ("-", gate[1:]) if gate.startswith("-") else ("", gate)
        parts.append(f"{sign}{prefix}{gate}{suffix}")
    return f"[{'; '.join(parts)}]"


def _gates(table: dict[str, str], kind: str) -> str:
    if kind not in table:
        said = f"no ready layout for {kind!r}" if kind else "the layout's kind is missing"
        raise UsageError(f"{said}; there are {', '.join(table)}")
    return table[kind]


def _bias(kind: str, gates: str, suffix: str) -> str:
    """``[b_i; b_f]``, or the one bias of a plain RNN."""
    return f"[b_i{suffix}]" if kind == "rnn" else _stack(gates, suffix, "b_")


def _names(text: str) -> list[str]:
    """The names in ``[b_i; -b_z]``, without signs."""
    return [n.strip(" -") for n in text.strip("[]").split(";")]


def _layout(
    kind: str,
    name: str,
    parameters: dict[str, str],
    inputs: dict[str, str],
    outputs: dict[str, str],
    zero: list[str],
) -> Layout:
    if kind != "lstm":  # only the LSTM has a memory cell; it comes last of the states
        inputs = dict(list(inputs.items())[:2])
        outputs = dict(list(outputs.items())[:2])
    return Layout(parameters, inputs, outputs, tuple(zero), name=name)


def pytorch(
    kind: str,
    *,
    suffix: str = "",
    layer: str = "l0",
    batch_first: bool = False,
    bias: bool = True,
    projected: bool = False,
    num_layers: int = 1,
    bidirectional: bool = False,
) -> Layout:
    """``torch.nn.LSTM``, ``GRU`` (reset after the product) and ``RNN``.

    ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``, and ``weight_hr_l0`` of an
    LSTM with ``proj_size`` (`projected`); states are ``(layers · directions, B, p)``.
    """
    gates = _gates(_PYTORCH, kind)
    if projected and kind != "lstm":
        raise UsageError("pytorch: proj_size is an option of the LSTM only (projected)")
    plain = num_layers == 1 and not bidirectional
    ways = ("", "_reverse") if bidirectional else ("",)
    ends = [layer] if plain else [f"l{k}{w}" for k in range(num_layers) for w in ways]
    suffixes = [suffix] if plain else [f"{suffix}_{end}" for end in ends]
    parameters: dict[str, str] = {}
    zero: list[str] = []
    for end, own in zip(ends, suffixes, strict=True):
        parameters[f"weight_ih_{end}"] = _stack(gates, own, "U_")
        parameters[f"weight_hh_{end}"] = _stack(gates, own, "W_")
        held = _bias(kind, gates, own)
        hidden = held.replace(f"b_c{own}", f"d_c{own}") if kind == "gru" else held
        if bias:
            parameters |= {f"bias_ih_{end}": held, f"bias_hh_{end}": hidden}
        else:
            zero += dict.fromkeys([*_names(held), *_names(hidden)])
        if projected:
            parameters[f"weight_hr_{end}"] = f"[P{own}]"
    axes = "B T n" if batch_first else "T B n"
    top = "h" + ("" if plain else f"_l{num_layers - 1}" + ("_both" if bidirectional else ""))
    first = "1" if plain else "L"

    def states(what: str) -> str:
        return " ".join(what.format(own) for own in suffixes) + f": {first} B n"

    return _layout(
        kind, f"PyTorch {kind}", parameters,
        {"input": f"x{suffix}: {axes}", "h_0": states("h{}0"), "c_0": states("c{}0")},
        {"output": f"{top}{suffix}: {axes}" if plain else f"{top}: {axes}",
         "h_n": states("h{}_final"), "c_n": states("c{}_final")},
        zero,
    )  # fmt: skip


def keras(
    kind: str, *, suffix: str = "", reset_after: bool = True, use_bias: bool = True
) -> Layout:
    """Keras ``LSTM``, ``GRU`` and ``SimpleRNN``: ``kernel``, ``recurrent_kernel``, ``bias``."""
    gates = _gates(_KERAS, kind)
    bias = _bias(kind, gates, suffix)
    own = _names(bias)
    if kind == "gru" and reset_after:
        row = " ".join(f"{p.strip(' [];')}.T" for p in bias.split(";"))
        bias = f"[{row}; {row.replace('b_c', 'd_c')}]"
        own.append(f"d_c{suffix}")
    parameters = {
        "kernel": _stack(gates, suffix, "U_") + ".T",
        "recurrent_kernel": _stack(gates, suffix, "W_") + ".T",
    }
    if use_bias:
        parameters["bias"] = bias
    return _layout(
        kind, f"Keras {kind}", parameters,
        {"inputs": f"x{suffix}: B T n", "h0": f"h{suffix}0: B n", "c0": f"c{suffix}0: B n"},
        {"sequence": f"h{suffix}: B T n", "h": f"h{suffix}_final: B n",
         "c": f"c{suffix}_final: B n"},
        [] if use_bias else own,
    )  # fmt: skip


def cudnn(kind: str, *, suffix: str = "") -> Layout:
    """cuDNN's one weight buffer: input matrices, recurrent matrices, then both kinds of biases."""
    gates = _gates(_PYTORCH, kind)

    def each(p: str) -> list[str]:
        return _stack(gates, suffix, p).strip("[]").split("; ")

    first = _bias(kind, gates, suffix).strip("[]").split("; ")
    second = [w.replace("b_c", "d_c") if kind == "gru" else w for w in first]
    words = [*each("U_"), *each("W_"), *first, *second]
    return _layout(
        kind, f"cuDNN {kind}", {"weights": f"flat({', '.join(words)})"},
        {"x": f"x{suffix}: T B n", "hx": f"h{suffix}0: 1 B n", "cx": f"c{suffix}0: 1 B n"},
        {"y": f"h{suffix}: T B n", "hy": f"h{suffix}_final: 1 B n",
         "cy": f"c{suffix}_final: 1 B n"},
        [],
    )  # fmt: skip


def onnx(
    kind: str,
    *,
    suffix: str = "",
    linear_before_reset: bool = False,
    peepholes: bool = False,
    bias: bool = True,
) -> Layout:
    """The operators ``LSTM``, ``GRU`` and ``RNN`` of ONNX: ``W``, ``R``, ``B`` and ``P``.

    Weights are those of one direction, ``W[0]``; states have that axis, ``(1, B, p)``, and ``Y`` is
    ``(T, 1, B, p)``.
    """
    gates = _gates(_ONNX, kind)
    if peepholes and kind != "lstm":
        raise UsageError("onnx: peepholes are an option of the LSTM only")
    first = _bias(kind, gates, suffix)
    second = first
    if kind == "gru" and linear_before_reset:
        second = first.replace(f"b_c{suffix}", f"d_c{suffix}")
    parameters = {"W": _stack(gates, suffix, "U_"), "R": _stack(gates, suffix, "W_")}
    if bias:
        parameters["B"] = f"[{first.strip('[]')}; {second.strip('[]')}]"
    if peepholes:
        parameters["P"] = _stack("i o f", suffix, "p_")
    return _layout(
        kind, f"ONNX {kind}", parameters,
        {"X": f"x{suffix}: T B n", "initial_h": f"h{suffix}0: 1 B n",
         "initial_c": f"c{suffix}0: 1 B n"},
        {"Y": f"h{suffix}: T 1 B n", "Y_h": f"h{suffix}_final: 1 B n",
         "Y_c": f"c{suffix}_final: 1 B n"},
        [] if bias else list(dict.fromkeys([*_names(first), *_names(second)])),
    )  # fmt: skip


def flax(kind: str, *, suffix: str = "") -> Layout:
    """Cells of ``flax.linen``, ``LSTMCell``, ``GRUCell`` and ``SimpleCell``, under ``nn.RNN``.

    Parameters are the leaves of ``params`` with dots: ``ii.kernel``, ``hi.bias``; batch first.
    """
    _gates(_PYTORCH, kind)
    gates = {"lstm": "i f g o", "gru": "r z n", "rnn": ""}[kind].split() or [""]
    ours = {"g": "c", "n": "c"}
    parameters: dict[str, str] = {}
    for gate in gates:
        own = "_" + ours.get(gate, gate) if gate else ""
        sign = "-" if gate == "z" else ""
        bias = f"b{own or '_i'}{suffix}"
        parameters[f"i{gate}.kernel"] = f"[{sign}U{own}{suffix}].T"
        parameters[f"h{gate}.kernel"] = f"[{sign}W{own}{suffix}].T"
        parameters[f"{'h' if kind == 'lstm' else 'i'}{gate}.bias"] = f"[{sign}{bias}]"
        if gate == "n":
            parameters["hn.bias"] = f"[d_c{suffix}]"
    return _layout(
        kind, f"Flax {kind}", parameters,
        {"inputs": f"x{suffix}: B T n", "h0": f"h{suffix}0: B n", "c0": f"c{suffix}0: B n"},
        {"outputs": f"h{suffix}: B T n", "h": f"h{suffix}_final: B n",
         "c": f"c{suffix}_final: B n"},
        [],
    )  # fmt: skip


def lecture(kind: str, *, suffix: str = "", order: str = "") -> Layout:
    """Row vectors, gates as columns, batch first, as in the CS231n assignments: ``Wx, Wh, b``.

    ``order`` names the gates as the code packs them, by default ``i f o c`` (c is the candidate,
    often called g).
    """
    _gates(_PYTORCH, kind)
    gates = order or {"lstm": "i f o c", "gru": "r z c", "rnn": ""}[kind]
    return _layout(
        kind, f"row vectors, {kind}",
        {
            "Wx": _stack(gates, suffix, "U_") + ".T",
            "Wh": _stack(gates, suffix, "W_") + ".T",
            "b": _bias(kind, gates, suffix),
        },
        {"x": f"x{suffix}: B T n", "h0": f"h{suffix}0: B n", "c0": f"c{suffix}0: B n"},
        {"h": f"h{suffix}: B T n", "h_T": f"h{suffix}_final: B n", "c_T": f"c{suffix}_final: B n"},
        [],
    )  # fmt: skip


def stacked_rows(kind: str, *, suffix: str = "", order: str = "") -> Layout:
    """Lectures that stack state and input: ``[W U] [h; x]``, gates as rows, batch as columns."""
    _gates(_PYTORCH, kind)
    gates = order or {"lstm": "f i o c", "gru": "r z c", "rnn": ""}[kind]
    lines = "; ".join(f"W_{g}{suffix} U_{g}{suffix}" for g in gates.split())
    return _layout(
        kind, f"stacked state and input, {kind}",
        {
            "W": f"[{lines or f'W{suffix} U{suffix}'}]",
            "b": f"{_bias(kind, gates, suffix)} as column",
        },
        {"x": f"x{suffix}: T n B", "h0": f"h{suffix}0: n B", "c0": f"c{suffix}0: n B"},
        {"hs": f"h{suffix}: T n B", "h_T": f"h{suffix}_final: n B",
         "c_T": f"c{suffix}_final: n B"},
        [],
    )  # fmt: skip


def columns(kind: str, *, suffix: str = "", hidden: str = "a") -> Layout:
    """Classes of lectures with one matrix a gate: ``Wf`` is ``[W_f U_f]``, biases are columns.

    Sequences are columns with time last, ``x: (n, B, T)``. ``hidden`` is the letter of the hidden
    state; the gates are f, i, o and c (the candidate), in a GRU z and r.
    """
    _gates(_PYTORCH, kind)
    gates = {"lstm": "f i o c", "gru": "z r c", "rnn": ""}[kind].split()
    parameters = {f"W{g}": f"[W_{g}{suffix}, U_{g}{suffix}]" for g in gates}
    parameters |= {f"b{g}": f"b_{g}{suffix} as column" for g in gates}
    if not gates:
        parameters = {"W": f"[W{suffix}, U{suffix}]", "b": f"b_i{suffix} as column"}
    return _layout(
        kind, f"one matrix a gate, columns, {kind}", parameters,
        {"x": f"x{suffix}: n B T", f"{hidden}0": f"h{suffix}0: n B", "c0": f"c{suffix}0: n B"},
        {hidden: f"h{suffix}: n B T", f"{hidden}_T": f"h{suffix}_final: n B",
         "c_T": f"c{suffix}_final: n B"},
        [],
    )  # fmt: skip


def separate(
    kind: str, *, suffix: str = "", inputs: str = "W", states: str = "U", biases: str = "b",
    candidate: str = "", rows: bool = False, batch_first: bool = False,
) -> Layout:  # fmt: skip
    """Two matrices and a bias a gate: ``Wz x + Uz h + bz``, sequences as columns ``(T, n, B)``.

    ``inputs``, ``states`` and ``biases`` stand before the gate's letter (``inputs=W_x states=W_h
    biases=b_``); ``candidate`` is the letter of the candidate, h in a GRU and c in an LSTM.
    ``rows`` is for row vectors, ``x @ Wz``, ``(T, B, n)``; ``batch_first`` has ``(B, T, n)``.
    """
    _gates(_PYTORCH, kind)
    if len({inputs, states, biases}) < 3:
        raise UsageError(
            f"separate: inputs={inputs}, states={states} and biases={biases} must differ"
        )
    rows = rows or batch_first
    turned, column = (".T", "") if rows else ("", " as column")
    letters = {"lstm": "f i o c", "gru": "z r c", "rnn": ""}[kind].split()
    own = {g: candidate or ("h" if kind == "gru" else "c") if g == "c" else g for g in letters}
    if len(set(own.values())) < len(own):
        raise UsageError(f"separate: candidate={candidate} is the letter of another gate")
    parameters = {f"{inputs}{own[g]}": f"U_{g}{suffix}{turned}" for g in letters}
    parameters |= {f"{states}{own[g]}": f"W_{g}{suffix}{turned}" for g in letters}
    parameters |= {f"{biases}{own[g]}": f"b_{g}{suffix}{column}" for g in letters}
    if not letters:
        parameters = {inputs: f"U{suffix}{turned}", states: f"W{suffix}{turned}"}
        parameters |= {biases: f"b_i{suffix}{column}"}
    axes, each = ("B T n" if batch_first else "T B n", "B n") if rows else ("T n B", "n B")
    return _layout(
        kind, f"two matrices a gate, {kind}", parameters,
        {"x": f"x{suffix}: {axes}", "h0": f"h{suffix}0: {each}", "c0": f"c{suffix}0: {each}"},
        {"h": f"h{suffix}: {axes}", "h_T": f"h{suffix}_final: {each}",
         "c_T": f"c{suffix}_final: {each}"},
        [],
    )  # fmt: skip


def own(
    network: Network, *, transposed: bool = False, batch_first: bool = False, columns: bool = False
) -> Layout:
    """Any definition in its own names: sequences ``(T, B, n)``, states ``(B, n)``.

    ``transposed`` holds every matrix transposed, for ``x @ W``; ``batch_first`` is ``(B, T, n)``,
    ``columns`` ``(T, n, B)``, with biases as columns.
    """
    if batch_first and columns:
        raise UsageError("own: batch_first and columns exclude each other")

    def axes(order: tuple[str, ...]) -> str:
        if batch_first and order[:2] == ("T", "B"):
            order = ("B", "T", *order[2:])
        if columns and "B" in order:
            order = (*(a for a in order if a != "B"), "B")
        return " ".join(order)

    def weight(name: str) -> str:
        shape = network.parameters[name].shape
        if shape.headed or shape.scalar:
            return name
        if shape.column:
            return f"{name} as column" if columns else name
        return f"{name}.T" if transposed else name

    return Layout(
        {n: weight(n) for n in network.parameters},
        {n: f"{n}: {axes(axes_of(r))}" for n, r in network.inputs.items()},
        {n: f"{n}: {axes(axes_of(r))}" for n, r in network.outputs.items()},
        name="the definition's own names",
    )
