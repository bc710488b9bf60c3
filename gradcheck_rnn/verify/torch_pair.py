"""PyTorch functions and modules as forward and backward pairs; PyTorch is imported by the caller.

Inputs are tensors in any nesting, outputs too; the parameters of a module are inputs by name. What
autograd may do to a backward function is done to it (`torch_protocol`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_function
from ..errors import UsageError
from .guard import call, changed_argument, changed_cotangents
from .harness.arrays import to_numpy
from .pairs import Cotangents
from .tensors import WHO, named_arguments, tensor_leaves, with_tensors
from .torch_held import shown_names, updated_attributes, with_values
from .torch_protocol import GraphPair, gradient_or_zeros
from .trees import Tree
from .verdict import Finding

__all__ = ["TorchPair"]

Array = NDArray[Any]
SEED = 0
#: Attribute of an output of a module: the parameters and buffers that it was computed with.
VALUES = "_values_of_forward"


class TorchPair(GraphPair):
    """A `torch.autograd.Function`, a module, or any function of tensors.

    Parameters
    ----------
    torch
        The library.
    function
        The class (its ``apply`` is called), module or function.
    inputs
        A tensor, a sequence of arguments, or a dict of arguments by name.
    """

    undefined = lays_out = True
    #: Whether a reference may be computed by operations that round less often than the code.
    fused = False

    def __init__(
        self, torch: Any, function: Any, inputs: Any, surrogate: Callable[..., Any] | None = None
    ) -> None:
        check_function(function, f"{WHO}: what to check")
        self.torch, self.function = torch, function
        self.is_function = isinstance(function, type) and issubclass(
            function, torch.autograd.Function
        )
        if isinstance(function, type) and issubclass(function, torch.nn.Module):
            who = function.__name__
            raise UsageError(f"{WHO}: {who} is a class of modules; give an object, {who}(…)")
        self.is_module = isinstance(function, torch.nn.Module)
        self._inputs = inputs
        self.arguments = named_arguments(torch, function, inputs, self.is_function)
        self.by_name = isinstance(inputs, Mapping) and not self.is_function
        inside = {n: dict(tensor_leaves(v, n, torch)) for n, v in self.arguments.items()}
        leaves = {name: x for found in inside.values() for name, x in found.items()}
        notes = [note for name, x in leaves.items() if (note := self._refuse(name, x))]
        self.moved = {name: x for name, x in leaves.items() if self.moves(x)}
        #: The moving tensors of each argument; of most it is the argument itself.
        self.inside = {
            n: [name for name in found if name in self.moved] for n, found in inside.items()
        }
        self.buffers: dict[str, Any] = {}
        #: Whether they are the same tensors in every call, and copies are none of theirs.
        self.holds = False
        #: Whether a call has been looked at for attributes that it updates as it does buffers.
        self.looked = False
        self.parameters: dict[str, str] = {}
        if self.is_module:
            self._refuse_module(function)
            self.buffers = dict(function.named_buffers())
            for name, x in function.named_parameters():
                if x.requires_grad and self.moves(x):
                    own = name if name not in self.moved else f"self.{name}"
                    self.parameters[own] = name
                    self.moved[own] = x
        if not self.moved:
            raise UsageError(f"{WHO}: no input is a floating-point tensor; nothing to check")
        tree = Tree.of({n: to_numpy(x) for n, x in self.moved.items()}, "inputs")
        super().__init__(tree, surrogate, function)
        if self.is_function:
            self.passes = surrogate or function.forward, function.backward
        self.findings += [Finding("no-gradient", note) for note in notes]
        late = [n for n, x in self.moved.items() if getattr(x, "_post_accumulate_grad_hooks", None)]
        if late:
            text = f"hooks after accumulation, of {', '.join(late)}, are not run and not checked"
            self.findings.append(Finding("hooks", text))
        self.random: bool | None = None
        devices = {x.device.index or 0 for x in self.moved.values() if x.device.type == "cuda"}
        self.devices = sorted(devices)

    @property
    def unit(self) -> float:
        """Of the coarsest format that NumPy arrays do not show, 0 if there is none."""
        formats = {x.dtype for x in self.moved.values()}
        return max(2.0**-7 if self.torch.bfloat16 in formats else 0.0, self.narrowed)

    def _units(self) -> tuple[list[float], list[float]]:
        outs = self.forward(self.tree.leaves)[1].values()
        found = [
            [float(self.torch.finfo(x.dtype).eps) for x in tensors if x.is_floating_point()]
            for tensors in (self.moved.values(), outs)
        ]
        return found[0], found[1]

    def anew(self) -> TorchPair:
        """The same function at the same inputs, of which nothing has been called yet."""
        return TorchPair(self.torch, self.function, self._inputs, self.surrogate)

    def hold(self, buffers: dict[str, Any]) -> None:
        """Compute with these buffers, which nothing may change."""
        self.buffers, self.holds, self.looked = buffers, True, True

    def widened(self, reference: Callable[..., Any] | None) -> TorchPair:
        """The same numbers in float64 on the CPU, for `reference` or the function itself."""
        double = self.doubles()
        arguments = {
            n: double[n] if self.inside[n] == [n]
            else with_tensors(v, (double[name] for name in self.inside[n]), self.moves)
            for n, v in self.arguments.items()
        }  # fmt: skip
        function, surrogate = reference, None
        if function is None:
            function, surrogate = self.function, self.surrogate
        if isinstance(function, self.torch.nn.Module):
            function = copy.deepcopy(function).to("cpu", self.torch.float64)
        given = arguments if self.by_name else list(arguments.values())
        return TorchPair(self.torch, function, given, surrogate)

    def doubles(self) -> dict[str, Any]:
        """The tensors that are perturbed, in float64 on the CPU."""
        return {n: x.detach().to("cpu", self.torch.float64) for n, x in self.moved.items()}

    def moves(self, x: Any) -> bool:
        """Whether a value is a tensor that is perturbed."""
        torch = self.torch
        return (
            isinstance(x, torch.Tensor)
            and x.is_floating_point()
            and x.layout == torch.strided
            and x.device.type != "meta"
        )

    def _refuse_module(self, module: Any) -> None:
        """Refuse modules whose parameters cannot be replaced."""
        if isinstance(module, self.torch.jit.ScriptModule):
            raise UsageError(f"{WHO}: a scripted module takes no other parameters; give the module")
        for name, x in module.named_parameters():
            if self.torch.nn.parameter.is_lazy(x):
                raise UsageError(
                    f"{WHO}: the parameter '{name}' has no shape yet; run forward once"
                )

    def _refuse(self, name: str, x: Any) -> str:
        """A note on a tensor that is passed on unchecked, '' for one that is checked or data.

        Raises
        ------
        UsageError
            It asks for a gradient.
        """
        if x.is_complex():
            what = "complex; give real and imaginary parts as two inputs"
        elif x.is_floating_point() and x.layout != self.torch.strided:
            what = "sparse; give its values, or to_dense()"
        else:
            return ""
        if x.requires_grad:
            raise UsageError(f"{WHO}: the input '{name}' is {what}")
        return f"the input '{name}' is passed on and not checked: it is {what}"

    # -- calls -----------------------------------------------------------------------------------

    def _tensors(self, leaves: Sequence[Array]) -> list[Any]:
        """New leaves of a graph in the layout, format and place of the given ones.

        Raises
        ------
        TypeError
            They are complex, for a complex step: autograd's functions need not be analytic.
        """
        if any(a.dtype.kind == "c" for a in leaves):
            raise TypeError("tensors are real")
        made = []
        with self.torch.no_grad():
            for a, x in zip(leaves, self.moved.values(), strict=True):
                t = self.torch.empty_like(x, requires_grad=False)
                plain = a.flags.c_contiguous and a.flags.writeable
                made.append(t.copy_(self.torch.from_numpy(a if plain else np.array(a))))
        for t, x in zip(made, self.moved.values(), strict=True):
            t.requires_grad_()
            for hook in (x._backward_hooks or {}).values():  # what they make of the gradient counts
                t.register_hook(hook)
        return made

    def _apply(self, function: Any, who: str, given: Sequence[Any]) -> dict[str, Any]:
        """Output tensors by name."""
        torch = self.torch
        tensors = dict(zip(self.moved, given, strict=True))
        named = {
            n: tensors[n]
            if self.inside[n] == [n]
            else with_tensors(v, (tensors[name] for name in self.inside[n]), self.moves)
            for n, v in self.arguments.items()
        }
        args, kwargs = ((), named) if self.by_name else (tuple(named.values()), {})
        held = None
        if function is self.function and self.is_module:
            if not self.looked:
                self.looked = True
                run = partial(self._drawn, who, function, args, kwargs)
                kept = updated_attributes(torch, function, run)
                self.buffers |= kept
                self._tell_kept(list(kept))
            held = {n: tensors[own] for own, n in self.parameters.items()}
            held |= {n: b if self.holds else b.clone() for n, b in self.buffers.items()}
            if self.holds:
                run = partial(function, *args, **kwargs)
                result = self._drawn(who, with_values, (torch, function, held, run, True))
            else:
                given_by_name = (function, held, args, kwargs)
                result = self._drawn(who, torch.func.functional_call, given_by_name)
        else:
            whole = function is self.function and self.is_function
            result = self._drawn(who, function.apply if whole else function, args, kwargs)
        outs = (result,) if isinstance(result, torch.Tensor) else result
        found = dict(tensor_leaves(outs, "", torch))
        if not found:
            raise UsageError(f"{WHO}: {who} returns no tensor ({type(result).__name__})")
        for name, y in found.items():
            setattr(y, VALUES, held)
            if y.is_complex():
                raise UsageError(f"{WHO}: the output '{name}' is complex; return real parts")
            if y.layout != torch.strided:
                raise UsageError(f"{WHO}: the output '{name}' is sparse; return to_dense()")
        return found

    def _tell_kept(self, names: list[str]) -> None:
        """Note attributes that a call changes: what they do in the next call is not checked."""
        if names:
            text = (
                f"forward changes what the module keeps in {shown_names(names)}; every call was "
                "given what was kept before the check, so that a state carried from call to call "
                "was not followed"
            )
            self.findings.append(Finding("kept-state", text))

    def _drawn(
        self, who: str, function: Any, args: Any, kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call with random numbers from the same seed, if the first call has drawn some."""
        kwargs = kwargs or {}
        if self.random is False:
            return call(who, function, *args, **kwargs)
        with self.torch.random.fork_rng(devices=self.devices):
            self.torch.default_generator.manual_seed(SEED)
            for device in self.devices:
                self.torch.cuda.default_generators[device].manual_seed(SEED)
            before = self._states()
            result = call(who, function, *args, **kwargs)
            if self.random is None:
                pairs = zip(before, self._states(), strict=True)
                self.random = not all(self.torch.equal(a, b) for a, b in pairs)
            return result

    def _states(self) -> list[Any]:
        cuda = [self.torch.cuda.get_rng_state(d) for d in self.devices]
        return [self.torch.get_rng_state(), *cuda]

    def forward(
        self,
        leaves: Sequence[Array],
        frozen: Sequence[int] = (),
        layout: Callable[[Any], Any] | None = None,
    ) -> tuple[list[Any], dict[str, Any]]:
        """Leaves of the graph, and outputs. Arguments are clones, so that they may be written to.

        Those at the positions `frozen` need no gradient. What writes to them tells autograd, or
        changes its argument unseen. Parameters of a module keep their layout.
        """
        own = self._tensors(leaves)
        for i in frozen:
            own[i].requires_grad_(False)
        given = [
            layout(t) if layout is not None and name not in self.parameters else t.clone()
            for name, t in zip(self.moved, own, strict=True)
        ]
        nodes = [t.grad_fn for t in given] if self.runs < 2 else []
        outs = self._apply(self.function, "forward", given)
        if nodes:
            for name, t, x, node in zip(self.moved, given, own, nodes, strict=True):
                if t.grad_fn is node and not self.torch.equal(t, x):
                    self.note(changed_argument("forward", name))
        self.runs += 1
        return own, outs

    def in_place(
        self, leaves: Sequence[Array], cotangents: Cotangents
    ) -> tuple[list[Array], Sequence[Any]] | None:
        """As in `GraphPair`: what an optimiser does to parameters."""
        with self.torch.no_grad():
            for t, new in zip(self._held, self._tensors(leaves), strict=True):
                t.copy_(new)
        outs = list(self._apply(self.function, "forward", self._held).values())
        values = [to_numpy(y) for y in outs]
        return values, self.grad(self._held, outs, cotangents, False)

    def _run(self, leaves: Sequence[Array]) -> Any:
        return {name: to_numpy(y) for name, y in self.forward(leaves)[1].items()}

    def _run_surrogate(self, leaves: Sequence[Array]) -> Any:
        outs = self._apply(self.surrogate, "the surrogate", self._tensors(leaves))
        return {name: to_numpy(y) for name, y in outs.items()}

    def begin(self) -> Tree:
        """Outputs; those that no gradient flows through are not probed."""
        self._held = self._tensors(self.tree.leaves)  # before any that are freed
        outs = super().begin()
        tensors = self.forward(self.tree.leaves)[1].values()
        connected = [y.requires_grad for y in tensors]
        detached = [k for k in outs.real if not connected[k]]
        if detached and len(detached) < len(outs.real):
            self.probed = [k for k in outs.real if connected[k]]
            for k in detached:
                if self.is_function:
                    text = f"the output '{outs.names[k]}' is marked non-differentiable"
                    self.note(Finding("no-gradient", f"{text}; it was not checked"))
                else:
                    self.unprobed[k] = (
                        "no gradient flows through it (detached?); name the others with outputs= "
                        "if that is meant"
                    )
        return outs

    def _pull(
        self, leaves: Sequence[Array], cotangents: Cotangents, undefined: bool
    ) -> dict[int, Any]:
        own, outs = self.forward(leaves)
        grads = self.grad(own, list(outs.values()), cotangents, undefined)
        for k in cotangents:
            self.none |= {(k, i) for i, g in enumerate(grads) if g is None}
        return {
            i: gradient_or_zeros(g, x) for i, (g, x) in enumerate(zip(grads, leaves, strict=True))
        }

    def grad(
        self,
        own: Sequence[Any],
        outs: Sequence[Any],
        cotangents: Cotangents,
        undefined: bool,
        shaped: Callable[[Any], Any] | None = None,
    ) -> Sequence[Any]:
        """What autograd makes of some cotangents; None for inputs without a gradient."""
        torch, asked, weights = self.torch, [], []
        for k, y in enumerate(outs):
            if not y.requires_grad or (undefined and k not in cotangents):
                continue
            weight = torch.zeros_like(y)
            if k in cotangents:
                weight = torch.from_numpy(np.array(cotangents[k])).to(weight)
            asked.append(y)
            weights.append(shaped(weight) if shaped is not None else weight)
        if not asked:
            return [None] * len(own)
        kept = [w.clone() for w in weights] if self._watched(cotangents) else []
        wanted = [t for t in own if t.requires_grad]
        found = iter(call("backward", self._differentiate, asked, wanted, weights))
        grads = [next(found) if t.requires_grad else None for t in own]
        if kept and not all(torch.equal(a, b) for a, b in zip(kept, weights, strict=True)):
            self.note(changed_cotangents())
        return grads

    def _differentiate(self, asked: list[Any], own: Sequence[Any], weights: list[Any]) -> Any:
        """`torch.autograd.grad`, and what to do about graphs that it refuses.

        Raises
        ------
        UsageError
            A checkpoint of the kind that recomputes with a module's parameters as they are by then.
        """
        grad = partial(
            self.torch.autograd.grad, asked, own, weights,
            allow_unused=True, retain_graph=True, create_graph=self.records,
        )  # fmt: skip
        held = getattr(asked[0], VALUES, None)
        try:
            if held is None:
                return grad()
            return with_values(self.torch, self.function, held, grad, self.holds)
        except RuntimeError as error:
            if "use_reentrant" in str(error):
                text = "a checkpoint with use_reentrant=True cannot be checked"
                raise UsageError(f"{WHO}: {text}; pass use_reentrant=False") from None
            raise
