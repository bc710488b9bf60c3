"""What to write in a layout for an array of another shape: the order of axes, a column, a row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from .fitted import Fitted
from .layout import axes_of

__all__ = ["notation_for"]


def notation_for(fitted: Fitted, user: str, actual: tuple[int, ...]) -> str:
    """``; for this shape write …``, or nothing if no notation gives the shape.

    Parameters
    ----------
    user : str
        The array's name in the layout.
    actual : tuple of int
        The shape that it has.
    """
    texts = list(dict.fromkeys(_texts(fitted, user, actual)))
    if not texts:
        return ""
    return f"; for this shape write {' or '.join(repr(t) for t in texts[:2])} in the layout"


def _texts(fitted: Fitted, user: str, actual: tuple[int, ...]) -> Iterator[str]:
    layout, want = fitted.layout, fitted.shapes[user]
    if user in layout.parameters:
        text = layout.parameters[user]
        bare = text.partition(" as ")[0].strip()
        entries = max(want, default=1)
        if len(want) < 2 or 1 in want:
            if actual == (entries, 1):
                yield f"{bare} as column"
            if actual == (1, entries):
                yield f"{bare} as row"
        if len(want) == 2 and actual == want[::-1]:
            yield bare.removesuffix(".T") if bare.endswith(".T") else f"{bare}.T"
        return
    text = layout.inputs.get(user) or layout.outputs.get(user) or ""
    pieces = fitted.pieces[user]
    network = fitted.network
    refs = {**network.outputs, **network.inputs}
    ref = refs.get(pieces[0].name) if len(pieces) == 1 else None
    if ref is None:
        return
    name = text.partition(":")[0].strip()
    letters = axes_of(ref)
    own = dict(zip(letters, pieces[0].index.shape, strict=True))
    for order in permutations(letters):
        rest = list(order)
        out: list[str] = []
        for size in actual:
            if rest and own[rest[0]] == size:
                out.append(rest.pop(0))
            elif size == 1:
                out.append("1")
            else:
                break
        else:
            if not rest:
                yield f"{name}: {' '.join(out)}"
