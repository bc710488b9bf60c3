"""The same gradients through other checkers with their defaults.

``torch.autograd.gradcheck`` slow and fast, with our NumPy forward and backward pass in a
``torch.autograd.Function``; ``jax.test_util.check_grads`` (order 1, reverse mode) with a
``custom_vjp`` that calls back; and SciPy's ``check_grad``, which returns a distance and no verdict:
it counts as accepted below 1e-5, the absolute tolerance of gradcheck. What is not installed is left
out and said so. Faults are those of the hand-written Elman network and LSTM in the hard regimes,
and own faults; a fault counts if some array's gradient changes by more than 1e-10 of its norm.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradcheck_rnn.verify import check_gradient

from . import own
from .correct import BOX, scaled_problem
from .own_faults import FAULTS

__all__ = ["CHECKERS", "study"]

Arrays = dict[str, Any]
ELMAN = ({"truncate": 2}, {"transpose": True}, {"drop_phi": True}, {"lag": True},
         {"overwrite": True})  # fmt: skip
LSTM = ({"lose_c": True}, {"forget": True})
VISIBLE = 1e-10
SCIPY_LIMIT = 1e-5
OWN = ("char_rnn", "elman rows", "lstm rows", "batched_gru")


def ours(loss: Any, gradient: Any, P: Arrays) -> str:
    return str(check_gradient(loss, gradient, P, seed=0).verdict)


def _both(loss: Any, gradient: Any) -> tuple[Any, Any]:
    """Loss and gradient apart, where one function gives both."""
    if gradient is None:
        return lambda P: loss(P)[0], lambda P: loss(P)[1]
    return loss, gradient


def torch_gradcheck(loss: Any, gradient: Any, P: Arrays, *, fast: bool) -> str:
    import torch

    names = list(P)
    value, pull = _both(loss, gradient)

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            ctx.save_for_backward(*tensors)
            held = {n: t.detach().numpy() for n, t in zip(names, tensors, strict=True)}
            return torch.tensor(float(value(held)), dtype=tensors[0].dtype)

        @staticmethod
        def backward(ctx: Any, bar: Any) -> Any:
            held = {n: t.detach().numpy() for n, t in zip(names, ctx.saved_tensors, strict=True)}
            found = pull(held)
            return tuple(bar * torch.tensor(np.asarray(found[n])) for n in names)

    inputs = [torch.tensor(a, requires_grad=True) for a in P.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        good = torch.autograd.gradcheck(
            Function.apply, inputs, fast_mode=fast, raise_exception=False
        )
    return "pass" if good else "fail"


def scipy_check_grad(loss: Any, gradient: Any, P: Arrays) -> str:
    from scipy.optimize import check_grad

    value, pull = _both(loss, gradient)
    shapes = {n: a.shape for n, a in P.items()}
    dtype = next(iter(P.values())).dtype

    def build(x: Any) -> Arrays:
        out, at = {}, 0
        for n, s in shapes.items():
            size = int(np.prod(s))
            out[n] = x[at : at + size].reshape(s).astype(dtype)
            at += size
        return out

    def flat(x: Any) -> Any:
        found = pull(build(x))
        return np.concatenate([np.ravel(found[n]) for n in shapes]).astype(np.float64)

    x0 = np.concatenate([a.ravel() for a in P.values()]).astype(np.float64)
    distance = check_grad(lambda x: float(value(build(x))), flat, x0)
    return "pass" if distance < SCIPY_LIMIT else "fail"


def jax_check_grads(loss: Any, gradient: Any, P: Arrays) -> str:
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    value, pull = _both(loss, gradient)
    dtype = next(iter(P.values())).dtype

    def plain(Q: Any) -> Any:
        return {n: np.array(Q[n]) for n in P}  # JAX sorts the names

    def call(Q: Any) -> Any:
        shape = jax.ShapeDtypeStruct((), dtype)
        return jax.pure_callback(lambda R: np.asarray(value(plain(R)), dtype), shape, Q)

    def back(Q: Any, bar: Any) -> Any:
        shapes = {n: jax.ShapeDtypeStruct(a.shape, a.dtype) for n, a in Q.items()}

        def pulled(R: Any) -> Any:
            found = pull(plain(R))
            return {n: np.asarray(found[n], R[n].dtype) for n in R}

        found = jax.pure_callback(pulled, shapes, Q)
        return ({n: bar * a for n, a in found.items()},)

    wrapped = jax.custom_vjp(call)
    wrapped.defvjp(lambda Q: (call(Q), Q), back)
    try:
        check_grads(wrapped, (dict(P),), order=1, modes=("rev",))
    except AssertionError:
        return "fail"
    return "pass"


def _checkers() -> dict[str, Callable[..., str]]:
    found: dict[str, Callable[..., str]] = {"gradcheck_rnn": ours}
    if importlib.util.find_spec("torch"):
        found["gradcheck slow"] = lambda *a: torch_gradcheck(*a, fast=False)
        found["gradcheck fast"] = lambda *a: torch_gradcheck(*a, fast=True)
    found["scipy check_grad"] = scipy_check_grad
    if importlib.util.find_spec("jax"):
        found["jax check_grads"] = jax_check_grads
    return found


CHECKERS = _checkers()


def _differs(right: Arrays, wrong: Arrays) -> bool:
    for n, a in right.items():
        gap = np.linalg.norm(np.asarray(wrong[n], np.float64) - np.asarray(a, np.float64))
        if not gap <= VISIBLE * np.linalg.norm(np.asarray(a, np.float64)):
            return True
    return False


def _cases(seed: int) -> Iterator[tuple[str, str, Any, Any, Arrays]]:
    """(group, label, loss, gradient, parameters); the group says what the verdict should be."""
    for dtype in ("float64", "float32"):
        for regime in BOX:
            for kind, faults in (("lstm", LSTM), ("elman", ELMAN)):
                loss, gradient, P = scaled_problem(kind, regime, dtype, seed)
                yield f"right {dtype}", f"{kind} {regime}", loss, gradient, P
                for fault in faults if dtype == "float64" else ():

                    def wrong(Q: Arrays, gradient: Any = gradient, fault: Any = fault) -> Arrays:
                        return gradient(Q, **fault)

                    if _differs(gradient(P), wrong(P)):
                        yield "faulty", f"{kind} {regime} {next(iter(fault))}", loss, wrong, P
    for source in OWN:
        for old, new in FAULTS[source]:
            loss, gradient, P = own.black_box_case(source, own.load(source, old, new))
            yield "own faults", f"{source}: {old} -> {new}", loss, gradient, P


def study(seed: int) -> dict[str, Any]:
    """Verdicts of every checker, counted by group."""
    started = time.process_time()
    counts: dict[str, dict[str, dict[str, int]]] = {}
    notes: list[list[str]] = []
    for group, label, loss, gradient, P in _cases(seed):
        for name, checker in CHECKERS.items():
            try:
                verdict = checker(loss, gradient, P)
            except Exception as error:  # a checker that falls over has said nothing
                verdict = f"error {type(error).__name__}"
            table = counts.setdefault(name, {}).setdefault(group, {})
            table[verdict] = table.get(verdict, 0) + 1
            good = ("pass",) if group.startswith("right") else ("fail",)
            if verdict not in good:
                notes.append([name, group, label, verdict])
    return {
        "part": "others", "system": "by hand", "seed": seed, "counts": counts, "notes": notes,
        "missing": [n for n in ("torch", "jax") if not importlib.util.find_spec(n)],
        "seconds": round(time.process_time() - started, 1),
    }  # fmt: skip
