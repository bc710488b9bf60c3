"""The interface of a Python module around its statements: shapes, signatures, arguments."""

from __future__ import annotations

from collections.abc import Iterable

from ....language.network import Network, Ref
from ...schedule.build import Schedule
from ...schedule.ops import BATCH, Buffer, Lead
from ..size_checks import size_lines
from ..template import axes_of, flattened, given_values, shape_text, typed_dict

__all__ = ["PythonInterface"]


class PythonInterface:
    """What the caller sees of a module, as text."""

    def __init__(self, plan: Schedule) -> None:
        self.plan, self.network = plan, plan.network
        inputs = self.network.inputs.values()
        self.free_axes = [a for a in self.network.axes if all(r.axis != a for r in inputs)]
        self.free_batch = not inputs

    @property
    def refs(self) -> dict[str, Ref]:
        return {**self.network.inputs, **self.network.parameters}

    def shapes(self) -> dict[str, tuple[str, ...]]:
        """Axes of every array, inputs first, so that plain dims are known before sums of them."""
        return {n: axes_of(r) for n, r in self.refs.items()}

    def types(self) -> list[str]:
        """The TypedDicts."""
        network: Network = self.network
        outputs = self.plan.outputs
        differentiated = [r.name for r in self.plan.derivation.differentiated()]
        late = "∂L/∂output of each output; one that is left out is zero."
        return [
            *typed_dict(
                "Parameters",
                "Parameters, trained and fixed.",
                network.parameters,
                optional=given_values(network),
            ),
            *typed_dict("Inputs", "Sequences, data and initial states.", network.inputs),
            *typed_dict("Outputs", "What forward gives.", outputs),
            *typed_dict("Cotangents", late, outputs, total=False),
            *typed_dict("Gradients", "∂L/∂ of what it is called after.", differentiated),
        ]

    def keywords(self) -> list[str]:
        """Keyword parameters for sizes that no array tells."""
        local = [self.plan.names.sizes[a] for a in self.free_axes]
        return [f"{a}: int" for a in local] + (["B: int = 1"] if self.free_batch else [])

    def passed(self) -> str:
        """The same as arguments."""
        local = self.plan.names.sizes
        return "".join(f", {local[n]}={local[n]}" for n in self._free())

    def _free(self) -> list[str]:
        return [*self.free_axes, *([BATCH] if self.free_batch else [])]

    def opening(self, used: Iterable[str], dtype: bool) -> list[str]:
        """Check arrays and take the sizes that are used."""
        local = self.plan.names.sizes
        given = ", ".join(f'"{n}": {local[n]}' for n in self._free())
        out = [
            f"    sizes: dict[str, int] = {{{given}}}",
            f"    arrays, {'dtype' if dtype else '_'} = _check({{**parameters, **inputs}}, sizes)",
        ]
        names = list(used)
        return out + size_lines(self.shapes(), self.refs.values(), self._free(), names, local)

    def given(self, buffer: Buffer, key: str) -> str:
        """A line that names an argument."""
        ref = self.refs[key]
        text = f'arrays["{key}"]{_unit(ref, buffer.lead)}'
        return f"    {buffer.name} = {flattened(text, buffer, ref)}"

    def cotangents(self) -> list[str]:
        """Lines that check and name the cotangents."""
        out = ["    shapes: dict[str, tuple[int, ...]] = {"]
        for label in self.plan.outputs:
            shape = shape_text(self.network.outputs.get(label), self.plan.names)
            out.append(f'        "{label}": {shape},')
        out += ["    }", "    upstream = _check_cotangents(cotangents, shapes, dtype)"]
        for label, b in self.plan.cotangents.items():
            ref = self.network.outputs.get(label)
            end = "" if ref is None else _unit(ref, b.lead)
            text = flattened(f'upstream["{label}"]{end}', b, ref)
            out.append(f"    {b.name} = {text}")
        return out


def _unit(ref: Ref, lead: Lead) -> str:
    """Scalars of a sequence have one unit inside."""
    return "[..., None]" if lead and not ref.shape.axes else ""
