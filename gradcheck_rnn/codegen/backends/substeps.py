"""Kernels of a cell whose steps have substeps: the kernel of substeps, and functions of steps."""

from __future__ import annotations

from collections.abc import Collection

from ...derivation import derive
from ...derivation.program import Derivation
from ...errors import UnsupportedOperation
from ...language.unrolled import unrolled

__all__ = ["for_kernels", "function_of_substeps", "functions_of_steps", "substeps_of"]

_TEXT = '''

#: Substeps of a step. What is above counts substeps; what is below takes and gives steps.
SUBSTEPS = {count}
#: Inputs and outputs that move with the steps.
MOVING = {moving}


def _each(inputs: Inputs) -> Any:
    """The inputs of every substep."""
    given: dict[str, Any] = dict(inputs)
    for name in MOVING:
        if name in given:
            given[name] = {np}.repeat({np}.asarray(given[name]), SUBSTEPS, axis=0)
    return given


def forward(
    parameters: Parameters, inputs: Inputs{forward_takes}
) -> tuple[Outputs, dict[str, Array]]:
    """The outputs after the last substep of every step, and what `backward` needs besides."""
    outputs, saved = _forward(parameters, _each(inputs){forward_hands})
    made: Any = dict(outputs)
    for name in MOVING:
        if name in made:
            made[name] = made[name][SUBSTEPS - 1 :: SUBSTEPS]
    return made, saved


def backward(
    parameters: Parameters, inputs: Inputs, saved: dict[str, Array],
    cotangents: Cotangents{backward_takes}
) -> Gradients:
    """The gradients of Σ ⟨cotangent, output⟩."""
    upstream: Any = dict(cotangents)
    for name in MOVING:
        if name in upstream:
            given = {np}.asarray(upstream[name])
            wide = {np}.zeros((len(given) * SUBSTEPS, *given.shape[1:]), given.dtype)
            wide[SUBSTEPS - 1 :: SUBSTEPS] = given
            upstream[name] = wide
    gradients: Any = _backward(parameters, _each(inputs), saved, upstream{backward_hands})
    for name in MOVING:
        if name in gradients:
            each = gradients[name]
            steps = each.reshape(len(each) // SUBSTEPS, SUBSTEPS, *each.shape[1:])
            gradients[name] = steps.sum(axis=1)
    return gradients  # type: ignore[no-any-return]
'''


def substeps_of(derivation: Derivation) -> int:
    """How many substeps the steps of a derivation have.

    Raises
    ------
    UnsupportedOperation
        Nothing tells the number of steps.
    """
    network = derivation.network
    count = max((scan.substeps for scan in network.scans), default=1)
    if count > 1 and all(ref.axis is None for ref in network.inputs.values()):
        raise UnsupportedOperation(
            f"{network.name!r}: no input tells a kernel the number of steps; give the cell one"
        )
    return count


def for_kernels(derivation: Derivation) -> Derivation:
    """With loops written out that are in a network with other scans or a loss.

    Raises
    ------
    UnsupportedOperation
        It is longer than is written out.
    """
    network = derivation.network
    if len(network.scans) == 1 and not network.loss_terms:
        return derivation
    other = unrolled(network)
    return derivation if other is network else derive(other, derivation.rules)


def function_of_substeps(derivation: Derivation, name: str) -> str:
    """What the function of the substeps is called: its ``name`` where a step has no others."""
    return f"_{name}" if substeps_of(derivation) > 1 else name


def functions_of_steps(
    derivation: Derivation, module: str, workspaces: Collection[str] = ()
) -> list[str]:
    """Lines of functions that take and give steps, around those of substeps; none without those.

    Parameters
    ----------
    module : str
        ``"np"`` or ``"cp"``.
    workspaces : collection of str
        Which of ``"forward"`` and ``"backward"`` take a workspace.
    """
    count = substeps_of(derivation)
    if count == 1:
        return []
    network = derivation.network
    refs = {**network.inputs, **network.outputs}
    moving = repr(tuple(n for n, ref in refs.items() if ref.axis is not None)).replace("'", '"')
    keeps: dict[str, str] = {}
    for name in ("forward", "backward"):
        given = name in workspaces
        keeps[f"{name}_takes"] = ", workspace: dict[str, Array] | None = None" * given
        keeps[f"{name}_hands"] = ", workspace" * given
    return _TEXT.format(count=count, moving=moving, np=module, **keeps).rstrip("\n").split("\n")
