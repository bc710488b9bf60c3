"""Modules whose forward pass computes with buffers that it updates, as spectral norm does.

Such a buffer depends on the parameters, and the update is held on purpose while differentiating:
the loss as run has another derivative than the gradient, by as much as the buffer has not settled.
That is no fault of a backward pass, and differences in training mode cannot tell one. What they
call wrong is undecided where the gradient is right in evaluation mode, in which nothing is updated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .guard import close
from .outcome import Report
from .torch_pair import VALUES, TorchPair
from .verdict import Finding, Verdict

__all__ = ["doubt_updated_buffers"]

#: By how much a buffer of floats is moved to see whether the outputs depend on it.
MOVE = 0.25


def doubt_updated_buffers(report: Report, pair: TorchPair, again: Callable[[], Report]) -> None:
    """Make rows that fail undecided where updated buffers may be all that is wrong with them.

    Parameters
    ----------
    report
        Of the module as it was given.
    pair
        The module with its inputs.
    again
        The same check anew, called while the module is in evaluation mode.
    """
    failing = [row for row in report.rows if row.verdict is Verdict.FAIL]
    if not failing or not pair.is_module or not pair.function.training:
        return
    names = _updated(pair)
    if not names:
        return
    with _evaluating(pair):
        held = again()
    if any(row.verdict is Verdict.FAIL for row in held.rows):
        return
    shown = ", ".join(f"'{n}'" for n in names[:3]) + (" and more" if len(names) > 3 else "")
    text = (
        f"forward computes with buffers that it updates without a gradient ({shown}), as spectral "
        "norm does in training mode, so that the loss has a derivative that the gradient leaves "
        "out on purpose; in evaluation mode, where they are held, no entry is wrong: check "
        "module.eval()"
    )
    for row in failing:
        row.verdict, row.reasons = Verdict.UNDECIDED, (Finding("buffers", text),)


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
        before, after = (
            [y.detach().double().cpu().numpy() for y in outs.values()] for outs in (first, moved)
        )
        if not close(before, after, pair.unit):
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
