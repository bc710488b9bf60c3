"""How packages of recurrent kernels hold their arguments: one function a convention.

Their definitions are in `cells.kernel_arguments`, which say what is computed; options have the
names of the packages' arguments. Axes: T steps, B sequences, H heads, n keys, m values.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import UsageError
from .layout import Layout

__all__ = ["PACKAGES", "flashrnn", "linear_attention", "selective_scan"]

#: Arguments of a kind of linear attention beyond q, k and v; a dot is one number a head and step.
_GATES = {
    "attention": {}, "simple_gla": {"g": "."}, "gla": {"g": "n"}, "delta_rule": {"beta": "."},
    "gated_delta_rule": {"g": ".", "beta": "."},
}  # fmt: skip


def _known(kind: str, kinds: object, who: str) -> None:
    known = list(kinds)  # type: ignore[call-overload]
    if kind not in known:
        raise UsageError(f"no ready layout for {kind!r}: {who} has {', '.join(known)}")


def linear_attention(kind: str, *, head_first: bool = False, cu_seqlens: bool = False) -> Layout:
    """Kernels ``q, k, v, g, beta, initial_state`` → ``o, final_state``, scaled by 1 / sqrt(n).

    ``(B, T, H, n)``, with `head_first` ``(B, H, T, n)``; states ``(B, H, n, m)``; g is a logarithm.
    With `cu_seqlens` sequences of different lengths lie one after the other, ``(1, P, H, n)``.
    """
    _known(kind, _GATES, "linear-attention")
    if cu_seqlens and head_first:
        raise UsageError("linear-attention: cu_seqlens and head_first exclude each other")
    lead = "B H T" if head_first else "1 P H" if cu_seqlens else "B T H"
    borders = {"cu_seqlens": "cumulative lengths"} if cu_seqlens else {}
    gates = {
        name: f"{name}: {lead}{' n' if unit == 'n' else ''}" for name, unit in _GATES[kind].items()
    }
    return Layout(
        {},
        {"q": f"q: {lead} n", "k": f"k: {lead} n", "v": f"v: {lead} n", **gates,
         **borders, "initial_state": "S0: B H n m"},
        {"o": f"o: {lead} n", "final_state": "S_final: B H n m"},
        name=f"linear attention, {kind}",
    )  # fmt: skip


def selective_scan(kind: str, *, D: bool = True) -> Layout:
    """Kernels ``u, delta, A, B, C, D, z, delta_bias``, softplus of delta → ``out, last_state``.

    ``u``, ``delta`` and ``z`` are ``(B, d, T)``, ``A`` ``(d, n)``, ``B`` and ``C`` ``(B, n, T)``;
    grouped is ``(B, G·d, T)`` and ``(B, G, n, T)``; plain lacks z, the bias and softplus. Without
    `D` nothing goes past the state.
    """
    kinds = PACKAGES["selective-scan"][1]
    _known(kind, kinds, "selective-scan")
    parameters = {"A": "A", "D": "D", "delta_bias": "delta_bias"}
    wide = keys = "B n T"
    state = "B n m" if kind == "plain" else "B d n"
    if kind == "grouped":
        parameters = {"A": "A: G*d n", "D": "D: G*n", "delta_bias": "delta_bias: G*n"}
        wide, keys, state = "B G*n T", "B G n T", "B G*d n"
    inputs = {"u": f"u: {wide}", "delta": f"delta: {wide}", "B": f"B: {keys}", "C": f"C: {keys}"}
    if kind == "plain":
        del parameters["delta_bias"]
    else:
        inputs["z"] = f"z: {wide}"
    if not D:
        del parameters["D"]
    return Layout(
        parameters, inputs, {"out": f"y: {wide}", "last_state": f"S_final: {state}"},
        () if D else ("D",), name=f"selective scan, {kind}",
    )  # fmt: skip


def flashrnn(kind: str) -> Layout:
    """FlashRNN: ``Wx`` of the gates, ``R``, ``b`` and ``states`` → ``h``, ``last_h`` of all states.

    ``Wx`` is ``(B, T, gates, H, n)``, ``R`` ``(gates, H, n, n)``, ``b`` ``(gates, H, n)``, states
    ``(states, B, 1, H, n)``, outputs ``(states, B, T, H, n)``; gates i, f, z, o, states h, c.
    """
    _known(kind, ("lstm", "elman"), "flashrnn")
    gates = ["_i", "_f", "_z", "_o"] if kind == "lstm" else [""]
    states = ["h", "c"] if kind == "lstm" else ["h"]
    axis = "L" if kind == "lstm" else "1"

    def each(text: str, over: list[str]) -> str:
        return " ".join(text.format(x) for x in over)

    return Layout(
        {"R": f"{each('R{}', gates)}: {axis} H n m", "b": f"{each('b{}', gates)}: {axis} H n"},
        {"Wx": f"{each('x{}', gates)}: B T {axis} H n",
         "states": f"{each('{}0', states)}: {axis} B 1 H n"},
        {"h": f"{each('{}', states)}: {axis} B T H n",
         "last_h": f"{each('{}_final', states)}: {axis} B 1 H n"},
        name=f"FlashRNN {kind}",
    )  # fmt: skip


#: Convention → function and kinds, each with the definition that it is a layout of.
PACKAGES: dict[str, tuple[Callable[..., Layout], dict[str, str]]] = {
    "linear-attention": (
        linear_attention,
        {k: f"kernel_{'linear_attention' if k == 'attention' else k}" for k in _GATES},
    ),
    "selective-scan": (
        selective_scan,
        {"mamba": "kernel_selective_scan", "grouped": "kernel_selective_scan_groups",
         "plain": "selective_scan"},
    ),
    "flashrnn": (flashrnn, {"lstm": "kernel_flashrnn_lstm", "elman": "kernel_flashrnn_elman"}),
}  # fmt: skip
