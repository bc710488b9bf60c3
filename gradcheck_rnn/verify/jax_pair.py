"""JAX functions as forward and backward pairs; JAX is imported by the caller."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_function
from ..errors import UsageError
from .guard import call
from .harness.aggregates import COARSE
from .harness.arrays import to_numpy
from .jax_protocol import equations, look_at_rules
from .pairs import Cotangents, Pair
from .trees import Tree, is_named
from .verdict import Finding

__all__ = ["JaxPair", "named_inputs"]

Array = NDArray[Any]
WHO = "check_jax"
COARSELY = (
    "something is computed in bfloat16 or float16, whose rounding hides what differences see: "
    "check the same function in float32 or float64, or judge the code beside a definition "
    "(check_model with dtype=)"
)


class JaxPair(Pair):
    """A function of arrays in any pytrees, and its reverse-mode derivative.

    Parameters
    ----------
    jax, jnp
        The library.
    function
        Called with the inputs; returns arrays in any pytree.
    inputs
        Arguments in order, or a dict of them by name.
    jit
        Compile. A function that cannot be traced with values is run as it is, with a note.
    """

    def __init__(
        self,
        jax: Any,
        jnp: Any,
        function: Callable[..., Any],
        inputs: Any,
        *,
        jit: bool = True,
        surrogate: Callable[..., Any] | None = None,
    ) -> None:
        check_function(function, f"{WHO}: what to check")
        self.jax, self.jnp, self.jit = jax, jnp, jit
        named = named_inputs(function, inputs)
        self.by_name = isinstance(inputs, Mapping)
        # a list of arguments, since JAX sorts the keys of a dict
        pairs, self.structure = jax.tree_util.tree_flatten_with_path(list(named.values()))
        self.arguments = list(named)
        self.leaves = [self._leaf(x) for _, x in pairs]
        names = [_name(path[1:], self.arguments[path[0].idx]) for path, _ in pairs]
        self.moved = [k for k, x in enumerate(self.leaves) if self._moves(x)]
        if not self.moved:
            raise UsageError(f"{WHO}: no input is a floating-point array; nothing to check")
        template = {names[k]: to_numpy(self.leaves[k]) for k in self.moved}
        super().__init__(Tree.of(template, "inputs"), surrogate, function)
        self.function, self.inputs = function, inputs
        for k, x in enumerate(self.leaves):
            if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.complexfloating):
                text = f"the input '{names[k]}' is complex: passed on and not checked"
                self.note(Finding("no-gradient", text))
        given = {str(np.asarray(x).dtype) for _, x in pairs if isinstance(x, np.ndarray)}
        if "float64" in given and not any(self.leaves[k].dtype == np.float64 for k in self.moved):
            text = "float64 arrays were given and float32 is computed: jax_enable_x64 is off"
            self.note(Finding("dtype", text))
        self._compile()

    def widened(self) -> JaxPair:
        """The same function with float64 arrays in the place of floating-point ones."""

        def wide(x: Any) -> Any:
            array = self._leaf(x)
            return self.jnp.asarray(to_numpy(array), dtype="float64") if self._moves(array) else x

        inputs = self.jax.tree_util.tree_map(wide, self.inputs)
        return JaxPair(
            self.jax, self.jnp, self.function, inputs, jit=self.jit, surrogate=self.surrogate
        )

    def _leaf(self, x: Any) -> Any:
        """An array, or what is none (a string, a function, a whole number), passed on as it is.

        Numbers that are static arguments of a compiled function must stay hashable.
        """
        if isinstance(x, bool | int):
            return x
        try:
            return self.jnp.asarray(x)
        except (TypeError, ValueError):
            return x

    def _moves(self, x: Any) -> bool:
        return hasattr(x, "dtype") and bool(self.jnp.issubdtype(x.dtype, self.jnp.floating))

    @property
    def unit(self) -> float:
        """Of the coarsest format that NumPy arrays do not show, 0 if there is none."""
        formats = {str(self.leaves[k].dtype) for k in self.moved}
        return max(2.0**-7 if "bfloat16" in formats else 0.0, self.narrowed)

    def of_moved(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def of_moved(*arrays: Any) -> Any:
            leaves = list(self.leaves)
            for k, a in zip(self.moved, arrays, strict=True):
                leaves[k] = a
            args = self.jax.tree_util.tree_unflatten(self.structure, leaves)
            if self.by_name:
                return function(**dict(zip(self.arguments, args, strict=True)))
            return function(*args)

        return of_moved

    def _compile(self) -> None:
        self.forward = self.compiled(self.of_moved(self.function))
        self.backward = self.compiled(self.pulled())
        self.slope = None
        if self.surrogate is not None:
            self.slope = self.compiled(self.of_moved(self.surrogate))

    def compiled(self, function: Callable[..., Any]) -> Any:
        """The function, compiled unless it is to run as it is."""
        return self.jax.jit(function) if self.jit else function

    def pulled(self) -> Callable[..., Any]:
        """``pulled(arrays, cotangents)``: gradients, by a derivative that is traced anew."""
        jax, plain = self.jax, self.of_moved(self.function)

        def pulled(arrays: Any, cotangents: Any) -> Any:
            out, pull = jax.vjp(plain, *arrays)
            flat, shape = jax.tree_util.tree_flatten(out)
            given = [self.weight(y, w) for y, w in zip(flat, cotangents, strict=True)]
            return pull(jax.tree_util.tree_unflatten(shape, given))

        return pulled

    def traced(self) -> Any:
        """Forward as JAX traces it; None for what cannot be traced with values."""
        try:
            arrays = self.arrays(self.tree.leaves)
            return self.jax.make_jaxpr(self.of_moved(self.function))(*arrays)
        except Exception:
            return None

    def protocol(self, weights: Cotangents) -> None:
        """Custom rules as JAX may call them."""
        look_at_rules(self, weights)

    def arrays(self, leaves: Sequence[Array]) -> list[Any]:
        if any(a.dtype.kind == "c" for a in leaves):
            raise TypeError("arrays are real")
        return [
            self.jnp.asarray(np.array(a), dtype=self.leaves[k].dtype)
            for k, a in zip(self.moved, leaves, strict=True)
        ]

    def begin(self) -> Tree:
        """Outputs; without compilation where a function cannot be traced."""
        arrays = self.arrays(self.tree.leaves)
        try:
            call("forward", self.forward, *arrays)
        except Exception as error:
            if not self.jit:
                raise
            self.jit = False
            self._compile()
            call("forward", self.forward, *arrays)  # raises what is no fault of tracing
            text = f"forward cannot be compiled ({type(error).__name__}) and is run as it is"
            self.note(Finding("not-compiled", f"{text}; jit=False says so"))
        outs = super().begin()
        self.narrowed = max(self.narrowed, self._coarsest())
        if max([self.narrowed, *(float(self.jnp.finfo(a.dtype).eps) for a in arrays)]) > COARSE:
            self.note(Finding("coarse", COARSELY))
        return outs

    def _coarsest(self) -> float:
        """Unit of the coarsest format that forward computes in, 0 for float32 and finer."""
        traced = self.traced()
        if traced is None:  # its inputs' formats are all that it shows
            return 0.0
        units = [float(self.jnp.finfo(d).eps) for d in _formats(traced.jaxpr, self.jnp)]
        worst = max(units, default=0.0)
        return worst if worst > COARSE else 0.0

    def _flat(self, result: Any) -> dict[str, Array]:
        pairs, _ = self.jax.tree_util.tree_flatten_with_path(result)
        if not pairs:
            raise UsageError(f"{WHO}: forward returns no array")
        for path, x in pairs:
            name = _name(path) or "outputs"
            if not hasattr(x, "dtype") and not isinstance(x, bool | int | float | complex):
                kind = type(x).__name__
                raise UsageError(f"{WHO}: the output '{name}' is of type {kind}; return arrays")
            if self.jnp.issubdtype(self.jnp.asarray(x).dtype, self.jnp.complexfloating):
                raise UsageError(f"{WHO}: the output '{name}' is complex; return real parts")
        return {_name(path) or "outputs": to_numpy(x) for path, x in pairs}

    def _run(self, leaves: Sequence[Array]) -> Any:
        self.runs += 1
        return self._flat(call("forward", self.forward, *self.arrays(leaves)))

    def _run_surrogate(self, leaves: Sequence[Array]) -> Any:
        assert self.slope is not None
        return self._flat(call("the surrogate", self.slope, *self.arrays(leaves)))

    def _pull(
        self, leaves: Sequence[Array], cotangents: Cotangents, undefined: bool
    ) -> dict[int, Any]:
        try:
            grads = call(
                "backward", self.backward, tuple(self.arrays(leaves)), self.weights(cotangents)
            )
        except Exception as error:
            if not self._refused_by_the_library(error):
                raise
            said = str(error).strip().splitlines()[0]
            raise UsageError(f"{WHO}: JAX cannot pull cotangents back: {said}") from None
        return {i: to_numpy(g) for i, g in enumerate(grads)}

    def weights(self, cotangents: Cotangents) -> list[Array]:
        """A cotangent for every output, zeros for those without."""
        return [cotangents.get(k, np.zeros_like(x)) for k, x in enumerate(self.outs.leaves)]

    def _refused_by_the_library(self, error: Exception) -> bool:
        """Whether JAX itself raised it: of a rule's structure, of what it cannot differentiate.

        Its own frames are hidden from tracebacks; those of the user's code are not.
        """
        trace = error.__traceback__
        if trace is None or not str(error).strip():
            return False
        while trace.tb_next is not None:
            trace = trace.tb_next
        place = trace.tb_frame.f_globals.get("__name__", "")
        known = type(error).__module__.split(".")[0] in ("jax", "jaxlib")
        return known or place.split(".")[0] in ("jax", "jaxlib") or place == __name__

    def weight(self, y: Any, weight: Any) -> Any:
        """A cotangent in the format of its output; those of integers have none."""
        y = self.jnp.asarray(y)
        if not self.jnp.issubdtype(y.dtype, self.jnp.floating):
            return np.zeros(y.shape, dtype=self.jax.dtypes.float0)
        return self.jnp.asarray(weight, dtype=y.dtype)


def _formats(jaxpr: Any, jnp: Any) -> set[Any]:
    """Floating-point dtypes of everything that a traced function computes, loops included."""
    found = set()
    for equation in equations(jaxpr):
        for variable in equation.outvars:
            dtype = getattr(variable.aval, "dtype", None)
            if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
                found.add(dtype)
    return found


def named_inputs(function: Callable[..., Any], inputs: Any) -> dict[str, Any]:
    """Arguments by name, in order, as the signature names them, or by position."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    if not isinstance(inputs, list | tuple) or is_named(inputs):
        inputs = (inputs,)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds][: len(inputs)]
    names += [f"[{k}]" for k in range(len(names), len(inputs))]
    return dict(zip(names, inputs, strict=True))


def _name(path: Sequence[Any], name: str = "") -> str:
    """Of a leaf: ``params.W``, ``[1][0]``."""
    for step in path:
        at = getattr(step, "key", getattr(step, "name", None))
        if isinstance(at, str):
            name += f".{at}" if name else at
        else:
            name += f"[{getattr(step, 'idx', at)}]"
    return name
