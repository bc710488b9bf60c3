"""Modules whose forward pass computes with buffers that it updates, as spectral norm does.

Such a buffer depends on the parameters, and the update is held on purpose while differentiating:
the loss as run has another derivative than the gradient, by as much as the buffer has not settled.
That is no fault of a backward pass, and differences in training mode cannot tell one. What they
call wrong is looked at again where the gradient is right in evaluation mode, in which nothing is
updated: in training mode with all buffers held at their updated values, or undecided where they
cannot be held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .guard import close
from .outcome import Report
from .torch_held import shown_names
from .torch_pair import VALUES, TorchPair
from .verdict import Finding, Verdict

__all__ = ["doubt_updated_buffers"]

#: By how much a buffer of floats is moved to see whether the outputs depend on it.
MOVE = 0.25


def doubt_updated_buffers(
    report: Report, pair: TorchPair, again: Callable[[TorchPair], Report]
) -> None:
    """Judge rows that fail with buffers held, where updated ones may be all that is wrong.

    Parameters
    ----------
    report
        Of the module as it was given.
    pair
        The module with its inputs.
    again
        The same check of the module in evaluation mode, or with its buffers held.
    """
    failing = [row for row in report.rows if row.verdict is Verdict.FAIL]
    if not failing or not pair.is_module or not pair.function.training:
        return
    names = _updated(pair)
    if not names:
        return
    with _evaluating(pair):
        held = again(pair.anew())
    if any(row.verdict is Verdict.FAIL for row in held.rows):
        return
    shown = shown_names(names)
    holding = _holding(pair)
    if holding is not None:
        trained = again(holding)
        report.rows = trained.rows
        report.evaluations += trained.evaluations
        report.gradients += trained.gradients
        text = f"buffers that forward updates were held at their updated values: {shown}"
        report.findings.append(Finding("buffers", text))
        return
    text = (
        f"forward computes with buffers that it updates without a gradient ({shown}), as spectral "
        "norm does in training mode, so that the loss has a derivative that the gradient leaves "
        "out on purpose; in evaluation mode, where they are held, no entry is wrong: check "
        "module.eval()"
    )
    for row in failing:
        row.verdict, row.reasons = Verdict.UNDECIDED, (Finding("buffers", text),)


def _holding(pair: TorchPair) -> TorchPair | None:
    """The module with all buffers held as they are after a call; None where it does not run so."""
    outs = pair.forward(pair.tree.leaves)[1]
    after = getattr(next(iter(outs.values())), VALUES, None) or {}
    held, other = _held_type(pair.torch), pair.anew()
    other.hold(
        {n: after.get(n, b).detach().clone().as_subclass(held) for n, b in pair.buffers.items()}
    )
    try:
        first, again = (other.forward(other.tree.leaves)[1] for _ in range(2))
    except Exception:  # operations that take no such tensors
        return None
    return other if close(_arrays(first), _arrays(again), pair.unit) else None


def _held_type(torch: Any) -> Any:
    """A tensor that nothing changes: operations see copies, and what writes to it is dropped."""

    class Held(torch.Tensor):
        @classmethod
        def __torch_function__(
            cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name, kwargs = function.__name__, dict(kwargs or {})

            def free(x: Any) -> Any:
                with torch._C.DisableTorchFunctionSubclass():
                    if isinstance(x, cls):
                        return x.as_subclass(torch.Tensor).clone()
                    return type(x)(map(free, x)) if type(x) in (tuple, list) else x

            with torch._C.DisableTorchFunctionSubclass():
                result = function(*free(args), **{k: free(v) for k, v in kwargs.items()})
            written = kwargs.get("out")
            if isinstance(written, cls):
                return written
            in_place = name in _ASSIGNMENTS or (name.endswith("_") and not name.endswith("__"))
            return args[0] if in_place and args and isinstance(args[0], cls) else result

    return Held


#: Operators that write to their first argument.
_ASSIGNMENTS = {f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv", "pow")} | {
    "__setitem__", "__set__",
}  # fmt: skip


def _arrays(outs: Mapping[str, Any]) -> list[Any]:
    return [y.detach().double().cpu().numpy() for y in outs.values()]


def _updated(pair: TorchPair) -> list[str]:
    """Names of buffers that a forward pass changes and its outputs depend on."""
    first = pair.forward(pair.tree.leaves)[1]
    now = getattr(next(iter(first.values())), VALUES, None) or {}
    same = pair.torch.equal
    changed = [n for n, b in pair.buffers.items() if n in now and not same(now[n], b)]
    found = []
    for name in changed:
        kept = pair.buffers[name]
        pair.buffers[name] = kept + (MOVE if kept.is_floating_point() else 1)
        try:
            moved = pair.forward(pair.tree.leaves)[1]
        finally:
            pair.buffers[name] = kept
        if not close(_arrays(first), _arrays(moved), pair.unit):
            found.append(name)
    return found


@contextmanager
def _evaluating(pair: TorchPair) -> Iterator[None]:
    """The module in evaluation mode, and as it was afterwards."""
    modes = {m: m.training for m in pair.function.modules()}
    pair.function.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
