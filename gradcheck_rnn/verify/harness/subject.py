"""The user's code at one point: called with copies, inspected, and put beside the definition.

Of an array of another shape it says what to write in the layout for it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DimensionError, UsageError
from ..guard import WATCHED_CALLS, UserCode, call, changed_cotangents, close, keeps_state
from ..reachable import checksum
from ..recording import recording
from .arrays import Precision, to_numpy
from .fitted import Fitted
from .handed import adjoint_of
from .layout import axes_of
from .objects import GRADIENT_OF, beside_dict
from .packed import PackedArrays

__all__ = ["Subject", "notation_for"]

Array = NDArray[Any]
Arrays = dict[str, Array]
Giving = Callable[[Mapping[str, Any]], dict[str, Any]]


class Subject(UserCode):
    """The functions under test.

    Parameters
    ----------
    forward, backward : callable
        ``forward(**arrays)`` returns (outputs by name, cache); ``backward(cotangents, cache)``
        returns gradients by name.
    gradient : callable
        Instead of both: ``gradient(arrays)`` returns gradients of the definition's loss.
    loss : callable, optional
        ``loss(arrays)``, compared with the definition's.
    make : callable
        From NumPy to the arrays the code takes.
    form : Precision
        The number format of the code.
    packing : PackedArrays, optional
        How its arrays hold sequences of different lengths.
    """

    def __init__(
        self,
        forward: Callable[..., Any] | None,
        backward: Callable[..., Any] | None,
        gradient: Callable[..., Any] | None,
        loss: Callable[..., Any] | None,
        make: Callable[[Array], Any],
        form: Precision,
        packing: PackedArrays | None = None,
    ) -> None:
        if gradient is None and (forward is None or backward is None):
            raise UsageError("give forward and backward, or gradient for a definition with a loss")
        super().__init__(forward, backward, gradient, loss)
        self.forward, self.backward = forward, backward
        self.gradient, self.loss = gradient, loss
        self.make, self.form, self.packing = make, form, packing
        self.calls = self.runs = self.pulls = 0
        #: Adjoints and saved values of the last call, as they were handed over.
        self.handed: dict[str, dict[int | None, Any]] = {}
        #: Outputs of the forward pass of the last gradient call.
        self.outputs: Arrays = {}
        #: What arrays, and then cotangents, are given as in the place of copies.
        self._giving: tuple[Giving | None, Giving | None] = None, None
        #: Repeats the first call of forward or the loss: it must go on giving this.
        self._first: tuple[Callable[[], Any], Any] | None = None

    @property
    def with_cotangents(self) -> bool:
        """Whether the code takes cotangents of its outputs."""
        return self.gradient is None

    def given(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Copies of arrays as the code takes them."""
        return {n: self.make(a.copy()) for n, a in self._outward(arrays).items()}

    @contextmanager
    def giving(
        self, arrays: Giving | None = None, cotangents: Giving | None = None
    ) -> Iterator[None]:
        """Within it `arrays` makes what the code is given of arrays; `cotangents` of their copies.

        By default copies are given.
        """
        self._giving = arrays, cotangents
        try:
            yield
        finally:
            self._giving = None, None

    def _outward(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """The arrays as the code holds them."""
        packing = self.packing
        if packing is None:
            return arrays
        if packing.borders in arrays:
            packing.begin(arrays)
        return {n: packing.outward(n, a) for n, a in arrays.items()}

    def _unchanged(self, given: Mapping[str, Any], arrays: Mapping[str, Array], who: str) -> bool:
        now = [to_numpy(given[n]).astype(np.float64) for n in arrays]
        return self.unchanged(who, arrays, now, self._outward(arrays).values())

    def run(self, fitted: Fitted, arrays: Mapping[str, Array]) -> tuple[Arrays, Any, Any]:
        """Outputs by the layout's names as float64, the cache, and the outputs as returned."""
        first, self.runs = self.runs == 0, self.runs + 1
        made, names = self.watched(lambda: self._forward(fitted, arrays), watch=first)
        out, cache, raw, _ = made
        if first:
            self._first = (
                lambda: list(self._forward(fitted, arrays)[0].values()),
                list(out.values()),
            )
            if names and not close(self._first[0](), self._first[1], self.form.eps):
                raise keeps_state("forward", names)
        return out, cache, raw

    def _agree(self, a: Arrays, b: Arrays) -> bool:
        return all(n in b and close(x, b[n], self.form.eps) for n, x in a.items())

    def _forward(
        self, fitted: Fitted, arrays: Mapping[str, Array]
    ) -> tuple[Arrays, Any, Any, dict[str, Any]]:
        """As `run`, and the arrays that were given to it."""
        if self.forward is None:
            raise UsageError("there is no forward function to run")
        given = (self._giving[0] or self.given)(arrays)
        _takes(self.forward, given)
        self.calls += 1
        with _shapes_told("forward", given):
            made = call("forward", self.forward, **given)
        if not isinstance(made, tuple) or len(made) != 2:
            raise UsageError(
                "forward must return (outputs, cache); outputs are a dict by the layout's names, "
                f"or a tuple in its order ({', '.join(fitted.outputs)})"
            )
        self._unchanged(given, arrays, "forward")
        raw, cache = made
        if not isinstance(raw, Mapping):
            items = list(raw) if isinstance(raw, tuple | list) else [raw]
            if len(items) != len(fitted.outputs):
                raise UsageError(
                    f"forward returned {len(items)} outputs, the layout has "
                    f"{len(fitted.outputs)}: {', '.join(fitted.outputs)}"
                )
            raw = dict(zip(fitted.outputs, items, strict=True))
        out: Arrays = {}
        for n in fitted.outputs:
            if n not in raw:
                raise UsageError(f"forward gives no output {n!r}; it gives {', '.join(raw)}")
            out[n] = self._shaped(n, to_numpy(raw[n]), fitted, "output")
        return out, cache, raw, given

    def _shaped(self, name: str, a: Array, fitted: Fitted, what: str) -> Array:
        want = fitted.shapes[name]
        if self.packing is not None:
            a = self.packing.inward(name, a, want)
        if a.dtype.kind not in "fiu":
            raise UsageError(f"the {what} {name!r} has dtype {a.dtype}; return floating point")
        if a.shape != want:
            squeezed = tuple(n for n in a.shape if n != 1) == tuple(n for n in want if n != 1)
            if squeezed and a.size == math.prod(want) and a.size:
                return a.reshape(want).astype(np.float64)
            if self.packing is not None:
                want = self.packing.shape(name, want)
            raise DimensionError(
                f"the {what} {name!r} has shape {a.shape}, by the layout {want}"
                + notation_for(fitted, name, a.shape)
            )
        return a.astype(np.float64)

    def value(self, arrays: Mapping[str, Array]) -> float:
        """The loss.

        Raises
        ------
        UsageError
            It is not a real scalar.
        """
        if self.loss is None:
            raise UsageError("there is no loss function to run")
        if self._first is not None:
            return self._value(arrays)
        found, names = self.watched(lambda: self._value(arrays))
        self._first = lambda: self._value(arrays), found
        if names and not close(self._value(arrays), found, self.form.eps):
            raise keeps_state("the loss", names)
        return found

    def _value(self, arrays: Mapping[str, Array]) -> float:
        given = self.given(arrays)
        self.calls += 1
        found = to_numpy(call("the loss", self.loss, given))  # type: ignore[arg-type]
        self._unchanged(given, arrays, "the loss")
        if found.size != 1 or found.dtype.kind not in "fiu":
            raise UsageError(f"the loss has shape {found.shape}, dtype {found.dtype}; return a sum")
        return float(found.reshape(()))

    def gradients(
        self, fitted: Fitted, arrays: Mapping[str, Array], cotangents: Mapping[str, Array] | None
    ) -> Arrays:
        """Gradients by the layout's names as float64; missing ones are left out."""
        self.pulls += 1
        found, names = self.watched(
            lambda: self._pull(fitted, arrays, cotangents), watch=self.pulls == 1
        )
        if names:
            self._judge_changes(names, fitted, arrays, cotangents, found)
        return found

    def _pull(
        self, fitted: Fitted, arrays: Mapping[str, Array], cotangents: Mapping[str, Array] | None
    ) -> Arrays:
        with recording() as held:
            self.handed = held.arrays
            return self._pulled(fitted, arrays, cotangents)

    def _pulled(
        self, fitted: Fitted, arrays: Mapping[str, Array], cotangents: Mapping[str, Array] | None
    ) -> Arrays:
        self.calls += 1
        if self.gradient is not None:
            given = (self._giving[0] or self.given)(arrays)
            with _shapes_told("the gradient function", given):
                raw = call("the gradient function", self.gradient, given)
            self._unchanged(given, arrays, "the gradient function")
            return self._collect(fitted, raw)
        self.outputs, cache, _, given = self._forward(fitted, arrays)
        plain = {n: np.array(cotangents[n]) for n in fitted.outputs}  # type: ignore[index]
        if self.backward is None:
            raise UsageError("there is no backward function to run")
        watched = self.pulls <= WATCHED_CALLS
        before = checksum(cache) if watched else {}
        bars = self.given(plain)
        bars = self._giving[1](bars) if self._giving[1] is not None else bars
        found = self._collect(fitted, self._back(bars, cache, plain))
        if not all(n in bars and _same(bars[n], a) for n, a in self._outward(plain).items()):
            self.note(changed_cotangents())
        unchanged = self._unchanged(given, arrays, "backward")
        if watched and unchanged and checksum(cache) != before:

            def again() -> Arrays:
                raw = call("backward", self.backward, self.given(plain), cache)  # type: ignore[arg-type]
                return self._collect(fitted, raw)

            self.check_cache(again, found, self._agree)
        return found

    def _back(self, bars: Mapping[str, Any], cache: Any, plain: Mapping[str, Array]) -> Any:
        """What backward returns; of a first call that fails because of the order, say so.

        Raises
        ------
        UsageError
            It takes (cache, cotangents).
        """
        assert self.backward is not None
        try:
            with _shapes_told("backward", bars):
                return call("backward", self.backward, bars, cache)
        except Exception as error:
            if self.pulls > 1 or not self._turned(cache, plain):
                raise
            raise UsageError(
                f"backward is called as backward(cotangents, cache): a dict of {', '.join(bars)}, "
                "and what forward returned second; this one takes them the other way round "
                f"({type(error).__name__}: {error}). Turn its arguments round, or give module=f "
                "with f a jax.custom_vjp"
            ) from None

    def _turned(self, cache: Any, plain: Mapping[str, Array]) -> bool:
        """Whether backward runs with the two arguments the other way round."""
        assert self.backward is not None
        bars = self.given(plain)
        for given in (bars, tuple(bars.values()), *list(bars.values())[: len(bars) == 1]):
            try:
                call("backward", self.backward, cache, given)
            except Exception:
                continue
            return True
        return False

    def _judge_changes(
        self,
        names: list[str],
        fitted: Fitted,
        arrays: Mapping[str, Array],
        cotangents: Mapping[str, Array] | None,
        found: Arrays,
    ) -> None:
        """The functions changed data that they can reach: does anything depend on it?"""
        who = "backward" if self.gradient is None else "the gradient function"
        if self._first is not None:
            reader = "forward" if self.gradient is None else "the loss"
            self.check_data(who, names, reader, *self._first, self.form.eps)
        self.check_state(
            who, names, lambda: self._pull(fitted, arrays, cotangents), found, self._agree
        )

    def _collect(self, fitted: Fitted, raw: Any) -> Arrays:
        names = fitted.arguments
        if isinstance(raw, tuple) and len(raw) == 2 and isinstance(raw[1], Mapping):
            raw = raw[1]
        raw = beside_dict(raw, [n for n in names if n not in fitted.layout.parameters])
        by_name = isinstance(raw, Mapping)
        if not by_name:
            items = list(raw) if isinstance(raw, tuple | list) else [raw]
            if len(items) != len(names):
                raise UsageError(
                    f"{len(items)} gradients were returned for {len(names)} arguments "
                    f"({', '.join(names)}); return all in this order, or a dict by name"
                )
            raw = dict(zip(names, items, strict=True))
        out: Arrays = {}
        for n, g in raw.items():
            plain = n
            if plain not in names:
                plain = next(
                    (n.removeprefix(p) for p in GRADIENT_OF if n.removeprefix(p) in names), n
                )
            if plain not in names:
                if g is None:
                    continue
                if adjoint_of(fitted.network, n, fitted.layout.adjoints):
                    self.handed.setdefault(n, {})[None] = to_numpy(g)
                    continue
                raise UsageError(
                    f"a gradient {n!r} was returned, which the layout does not know; it has "
                    f"{', '.join(names)}"
                )
            if g is not None:
                try:
                    out[plain] = self._shaped(plain, to_numpy(g), fitted, "gradient of")
                except DimensionError as error:
                    if by_name:
                        raise
                    order = f"; without names gradients come in the order {', '.join(names)}"
                    raise DimensionError(f"{error}{order}") from None
        return out


def _same(given: Any, array: Array) -> bool:
    """Whether an array that a function was given still holds what it held."""
    now = to_numpy(given)
    return now.shape == array.shape and np.array_equal(now.astype(np.float64), array)


@contextmanager
def _shapes_told(who: str, given: Mapping[str, Any]) -> Iterator[None]:
    """Add to an exception what the function was given: of another layout, its shapes tell."""
    try:
        yield
    except Exception as error:
        shapes = ", ".join(f"{n} {tuple(np.shape(a))}" for n, a in given.items())
        error.add_note(f"the layout gave {who} {shapes}")
        raise


def _takes(forward: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Say it in the layout's names when the function cannot be called with them."""
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):  # some callables of extension modules have none
        return
    try:
        signature.bind(**given)
    except TypeError as error:
        raise UsageError(
            f"forward takes ({', '.join(signature.parameters)}), but the layout passes "
            f"{', '.join(given)} by name ({error}); rename the arguments, or declare a layout with "
            "yours"
        ) from None


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
