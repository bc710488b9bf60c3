"""How packages of recurrent kernels hold their arguments: one function a convention.

Their definitions are in `cells.kernel_arguments`, which say what is computed; options have the
names of the packages' arguments. Axes: T steps, B sequences, H heads, n keys, m values.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import UsageError
from .layout import Layout

__all__ = ["PACKAGES", "flashrnn", "linear_attention", "rwkv", "selective_scan"]

#: Arguments of a kind of linear attention; a dot is one number a head and step.
_QKV = {"q": "n", "k": "n", "v": "n"}
_SEQUENCES = {
    "attention": _QKV, "simple_gla": {**_QKV, "g": "."}, "gla": {**_QKV, "g": "n"},
    "delta_rule": {**_QKV, "beta": "."}, "gated_delta_rule": {**_QKV, "g": ".", "beta": "."},
    "retention": _QKV, "rwkv6": {"r": "n", "k": "n", "v": "n", "w": "n"},
    "rwkv7": {"r": "n", "w": "n", "k": "n", "v": "n", "a": "n", "b": "n"},
}  # fmt: skip
#: Gates of FlashRNN's kinds by input, recurrent weight and bias, and states.
_FLASHRNN = {
    "lstm": ("i f z o", "i f z o", "i f z o", "h c"),
    "slstm": ("i f z o", "i f z o", "i f z o", "h c s m"),
    "gru": ("r z n", "g r z", "g r z n", "h"), "elman": ("", "", "", "h"),
}  # fmt: skip


def _known(kind: str, kinds: object, who: str) -> None:
    known = list(kinds)  # type: ignore[call-overload]
    if kind not in known:
        said = f"no ready layout for {kind!r}" if kind else f"write the layout's kind, “{who} KIND”"
        raise UsageError(f"{said}: {who} has {', '.join(known)}")


def linear_attention(
    kind: str, *, head_first: bool = False, cu_seqlens: bool = False, scale: bool = False,
    reverse: bool = False,
) -> Layout:  # fmt: skip
    """Kernels ``q, k, v, g, beta, initial_state`` → ``o, final_state``, scaled by 1 / sqrt(n).

    ``(B, T, H, n)``, with `head_first` ``(B, H, T, n)``; states ``(B, H, n, m)``; g is a logarithm.
    With `cu_seqlens` sequences of different lengths lie one after the other, ``(1, P, H, n)``.
    With `scale` o is scaled by an argument of that name, with `reverse` the last step comes first.
    retention has γ = 1 − 2^(−5 − h); rwkv6 (``r, k, v, w, u``) and rwkv7 (``r, w, k, v, a, b``) are
    scaled by 1.
    """
    _known(kind, _SEQUENCES, "linear-attention")
    if cu_seqlens and head_first:
        raise UsageError("linear-attention: cu_seqlens and head_first exclude each other")
    lead = "B H T" if head_first else "1 P H" if cu_seqlens else "B T H"
    borders = {"cu_seqlens": "cumulative lengths"} if cu_seqlens else {}
    given = {
        name: f"{name}: {lead}{' n' if unit == 'n' else ''}"
        for name, unit in _SEQUENCES[kind].items()
    }
    parameters = {"u": "u: H n"} if kind == "rwkv6" else {}
    return Layout(
        {**parameters, **({"scale": "scale"} if scale else {})},
        {**given, **borders, "initial_state": "S0: B H n m"},
        {"o": f"o: {lead} n", "final_state": "S_final: B H n m"},
        name=f"linear attention, {kind}",
    )  # fmt: skip


def rwkv(kind: str) -> Layout:
    """Kernels ``w, u, k, v, state`` → ``o, state`` of RWKV-4, decays e^(−e^w).

    k, v and o are ``(B, T, n)``, states ``(B, 3, 1, n)``: two sums as multiples of e^m, and m.
    """
    _known(kind, ("rwkv4",), "rwkv")
    return Layout(
        {"w": "w", "u": "u"},
        {"k": "k: B T n", "v": "v: B T n", "state": "a0 b0 m0: B L 1 n"},
        {"o": "o: B T n", "final_state": "a_final b_final m_final: B L 1 n"}, name="RWKV-4",
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
    ``(states, B, 1, H, n)``, outputs ``(states, B, T, H, n)``; gates i, f, z, o, states h, c and of
    sLSTM normaliser and stabiliser. GRU: r, z, n of Wx, g, r, z of R, g, r, z, n of b.
    """
    _known(kind, _FLASHRNN, "flashrnn")
    of_x, of_h, of_b, states = map(str.split, _FLASHRNN[kind])

    def each(text: str, over: list[str]) -> str:
        return " ".join(text.format(x) for x in over)

    def gates(name: str, over: list[str]) -> str:
        return each(f"{name}_{{}}", over) if over else name

    axis, several = "L" if of_x else "1", "L" if len(states) > 1 else "1"
    return Layout(
        {"R": f"{gates('R', of_h)}: {axis} H n m", "b": f"{gates('b', of_b)}: {axis} H n"},
        {"Wx": f"{gates('x', of_x)}: B T {axis} H n",
         "states": f"{each('{}0', states)}: {several} B 1 H n"},
        {"h": f"{each('{}', states)}: {several} B T H n",
         "last_h": f"{each('{}_final', states)}: {several} B 1 H n"},
        name=f"FlashRNN {kind}",
    )  # fmt: skip


#: Convention → function and kinds, each with the definition that it is a layout of.
PACKAGES: dict[str, tuple[Callable[..., Layout], dict[str, str]]] = {
    "linear-attention": (
        linear_attention,
        {k: f"kernel_{'linear_attention' if k == 'attention' else k}" for k in _SEQUENCES},
    ),
    "selective-scan": (
        selective_scan,
        {"mamba": "kernel_selective_scan", "grouped": "kernel_selective_scan_groups",
         "plain": "selective_scan"},
    ),
    "flashrnn": (flashrnn, {k: f"kernel_flashrnn_{k}" for k in _FLASHRNN}),
    "rwkv": (rwkv, {"rwkv4": "kernel_rwkv4"}),
}  # fmt: skip
