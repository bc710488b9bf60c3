"""The second derivative of PyTorch functions: the backward pass, differentiated once more.

The gradients that a first backward pass gives are functions of the inputs and of the cotangents.
They are run in the place of forward, and what autograd makes of their graph in the place of
backward; everything else is as for a first derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .oracle.directions import draw_direction
from .pairs import Cotangents
from .tensors import DOUBLE
from .torch_pair import SEED, TorchPair
from .torch_protocol import look_with_a_graph
from .trees import Tree
from .verdict import Finding

__all__ = ["DoublePair"]

Array = NDArray[Any]


class DoublePair(TorchPair):
    """The backward pass of a function as a forward pass, and its derivative.

    Inputs are those of the function and ``d[0]``, the cotangent of output ``[0]``; outputs are
    ``dx``, the gradient of input ``x``.

    Parameters
    ----------
    torch, function, inputs
        As in `TorchPair`.
    weights : mapping, optional
        The cotangents of the first backward pass, as ``d[0]``; drawn where they are left out.
    """

    constant = True
    fused = True  # PyTorch differentiates tanh and sigmoid in one operation each
    #: What needs no gradient has none to differentiate.
    freezes = False

    def __init__(
        self,
        torch: Any,
        function: Any,
        inputs: Any,
        weights: Mapping[str, Any] | None = None,
    ) -> None:
        self.first = (
            function if isinstance(function, TorchPair) else TorchPair(torch, function, inputs)
        )
        own, outs = self.first.forward(self.first.tree.leaves)
        self.given = len(own)
        self.asked = [n for n, y in outs.items() if y.requires_grad and y.is_floating_point()]
        if not self.asked:
            raise UsageError(f"{DOUBLE}: no gradient flows through any output; nothing to check")
        given = dict(weights or {})
        weights = {}
        for name in self.asked:
            if f"d{name}" in given:
                if given[f"d{name}"].shape != outs[name].shape:
                    raise UsageError(
                        f"{DOUBLE}: the output '{name}' of the reference has the shape "
                        f"{tuple(outs[name].shape)}, not {tuple(given[f'd{name}'].shape)}"
                    )
                weights[f"d{name}"] = given[f"d{name}"]
                continue
            shape = tuple(outs[name].shape)
            drawn = draw_direction(shape, SEED, f"cotangent of {name}") * np.sqrt(np.prod(shape))
            weights[f"d{name}"] = torch.from_numpy(np.asarray(drawn)).to(outs[name])
        named = dict(zip(self.first.moved, own, strict=True))
        super().__init__(torch, self._gradients, {**named, **weights})
        self.findings = [*self.first.findings]
        self._refuse_marked()
        for name, y in outs.items():
            if y.is_floating_point() and name not in self.asked:
                text = f"no gradient flows through the output '{name}'; it has no cotangent"
                self.note(Finding("no-gradient", text))

    @property
    def _name(self) -> str:
        function = self.first.function
        return str(getattr(function, "__name__", type(function).__name__))

    def _refuse_marked(self) -> None:
        """Refuse a backward that is marked as having no derivative.

        Autograd raises for one only where it comes across the mark, and the mark is on no way from
        the gradients to the inputs: asked for those, it gives no gradient and says nothing.

        Raises
        ------
        UsageError
            There is one.
        """
        _, grads = self.forward(self.tree.leaves)
        nodes, seen = [g.grad_fn for g in grads.values()], set()
        while nodes:
            node = nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if node.name().rpartition("::")[2] == "Error":
                raise UsageError(
                    f"{DOUBLE}: a backward in {self._name} is marked once_differentiable, so there "
                    "is no second derivative to check; check the first with check_torch, or take "
                    "the mark away and write backward in differentiable operations"
                )
            nodes += [following for following, _ in node.next_functions]

    def _gradients(self, **tensors: Any) -> dict[str, Any]:
        """The first backward pass, with a graph; zeros for inputs without a gradient."""
        given = list(tensors.values())
        own, weights = given[: self.given], given[self.given :]
        first = self.first
        outs = first._apply(first.function, "forward", [t.clone() for t in own])
        grads = self.torch.autograd.grad(
            [outs[n] for n in self.asked], own, weights, create_graph=True, allow_unused=True
        )
        zeros = self.torch.zeros_like
        return {
            f"d{n}": zeros(t) if g is None else g
            for n, t, g in zip(first.moved, own, grads, strict=True)
        }

    def widened(self, reference: Callable[..., Any] | None) -> DoublePair:
        """The same numbers in float64 on the CPU, cotangents included.

        Raises
        ------
        UsageError
            Outputs or inputs of the reference have other names.
        """
        first = self.first.widened(reference)
        wide = DoublePair(self.torch, first, None, self.doubles())
        if list(wide.moved) != list(self.moved):
            raise UsageError(
                f"{DOUBLE}: the reference has the inputs and cotangents {', '.join(wide.moved)}, "
                f"the function {', '.join(self.moved)}"
            )
        return wide

    def begin(self) -> Tree:
        """Gradients; one that has lost its graph is probed: its derivative counts as zeros."""
        outs = super().begin()
        self.probed, self.unprobed = outs.real, {}
        return outs

    def protocol(self, weights: Cotangents) -> None:
        """As for a first derivative; and the gradients that are differentiated are those."""
        super().protocol(weights)
        first = self.first
        outs = list(first.forward(first.tree.leaves)[1])
        given = self.tree.leaves[self.given :]
        look_with_a_graph(first, {outs.index(n): w for n, w in zip(self.asked, given, strict=True)})
        for finding in first.findings:
            self.note(finding)

    def _pull(
        self, leaves: Sequence[Array], cotangents: Cotangents, undefined: bool
    ) -> dict[int, Any]:
        found = super()._pull(leaves, cotangents, undefined)
        # None is a derivative of zero, whether it is constant or has lost its graph
        self.none.clear()
        return found

    def _differentiate(self, asked: list[Any], own: Sequence[Any], weights: list[Any]) -> Any:
        """`torch.autograd.grad` of gradients.

        Raises
        ------
        UsageError
            There is no second derivative, and autograd says so.
        """
        try:
            return super()._differentiate(asked, own, weights)
        except (RuntimeError, NotImplementedError) as error:
            said = " ".join(str(error).split())
            if "derivative for" in said and "not implemented" in said:
                raise UsageError(
                    f"{DOUBLE}: PyTorch has no second derivative of an operation in {self._name} "
                    f"({said}); check the first with check_torch"
                ) from None
            raise
